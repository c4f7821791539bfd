"""Pictures of labelled episodes, from LeRobot datasets."""

# pyright: reportMissingTypeStubs=false

import itertools
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from lerobot.datasets.lerobot_dataset import LeRobotDataset

from learner.replay.dataset.arrow import Array, column, read_parquet, values
from learner.replay.dataset.format.layout import (
    DATA_PATH,
    SIDECAR_PATH,
    file_name,
    file_number,
    parquet_files,
)
from learner.replay.dataset.format.video import from_png
from learner.replay.prior.dataset import EPISODE
from learner.replay.prior.error import DemonstrationError
from learner.replay.prior.lerobot import NO_VIDEOS
from learner.replay.prior.source import find_source
from learner.rewards.labels import Labels

_Dataset: Any = LeRobotDataset


def read_pictures(
    sources: Sequence[str], features: Mapping[str, str], size: tuple[int, int], labels: Labels
) -> tuple[dict[str, Array], Labels]:
    """Camera -> u1 (M, height, width, 3), and the labels of these M frames.

    This project's replays have the picture after the last action. Of other episodes the last picture there
    is stands for it; it is left out as the one before the last action, where it might have the other label.

    Args:
        features: camera -> its feature in the datasets.
        size: width and height.
        labels: of all frames of the sources, T + 1 of each episode.

    Raises DemonstrationError: a source is no dataset, lacks a feature, has pictures of another size, or has
    other episodes than are labelled."""
    pictures: dict[str, list[Array]] = {camera: [] for camera in features}
    kept: list[Array] = []
    for source in sources:
        for seen, counted in _episodes(source, features, size):
            kept.append(counted)
            for camera, one in seen.items():
                pictures[camera].append(one)
    _require_same([len(one) for one in kept], np.bincount(labels.episode).tolist(), sources)
    rows = np.concatenate(kept)
    joined = {camera: np.concatenate(parts) for camera, parts in pictures.items()}
    return joined, Labels(labels.success[rows], labels.episode[rows])


def _require_same(pictures: list[int], labels: list[int], sources: Sequence[str]) -> None:
    """Raise DemonstrationError unless each episode has as many pictures as labels."""
    for number, (seen, labelled) in enumerate(itertools.zip_longest(pictures, labels, fillvalue=0)):
        if seen != labelled:
            raise DemonstrationError(
                f"{', '.join(sources)}: of their episodes, number {number} has {seen} pictures and "
                f"{labelled} labels: copy the data again"
            )


def _episodes(
    source: str, features: Mapping[str, str], size: tuple[int, int]
) -> Iterator[tuple[dict[str, Array], Array]]:
    """Of each episode: pictures by camera, and which of its T + 1 frames they are of, b1 (T + 1,)."""
    place = find_source(source)
    if place is not None and place.is_file():
        raise DemonstrationError(f"{source} has no pictures: name a LeRobot dataset that has {[*features]}")
    data = _Dataset(source, root=place, video_backend=NO_VIDEOS)
    _require_pictures(data, source, features, (size[1], size[0], 3))
    numbers = np.asarray([np.asarray(number).item() for number in data.hf_dataset[EPISODE]])
    finals = {} if place is None else _finals(place, [*features])
    _, firsts = np.unique(numbers, return_index=True)
    for number in numbers[np.sort(firsts)].tolist():  # in the order of the labels: that of the files
        [rows] = (numbers == number).nonzero()
        frames = [data[row] for row in rows.tolist()]
        seen = {camera: [_picture(frame[name]) for frame in frames] for camera, name in features.items()}
        final, counted = finals.get(number), np.ones(len(rows) + 1, bool)
        counted[-2] = final is not None
        last = {} if final is None else {camera: [picture] for camera, picture in final.items()}
        yield {camera: np.stack([*each, *last.get(camera, [])]) for camera, each in seen.items()}, counted


def _require_pictures(
    data: Any, source: str, features: Mapping[str, str], shape: tuple[int, int, int]
) -> None:
    """Raise DemonstrationError unless the dataset has these features, of shape (height, width, 3)."""
    for feature in features.values():
        found = data.features.get(feature, {}).get("shape")
        if found is None or tuple(found) not in (shape, (3, *shape[:2])):
            known = [name for name in data.features if name.startswith("observation.images")]
            raise DemonstrationError(
                f"{source} has no {feature} of {shape[1]} x {shape[0]} pixels, it has "
                f"{known or 'no pictures'}: set task.cameras and task.camera_size, or choose other data"
            )


def _picture(tensor: Any) -> Array:
    """LeRobot's picture, (3, height, width) in [0, 1], as bytes (height, width, 3)."""
    return (tensor.numpy().transpose(1, 2, 0) * 255).round().astype(np.uint8)


def _finals(folder: Path, cameras: Sequence[str]) -> dict[int, dict[str, Array]]:
    """Episode -> camera -> the picture after the last action, as this project's replays keep it."""
    finals: dict[int, dict[str, Array]] = {}
    for number in map(file_number, parquet_files(folder / "data")):
        place = folder / file_name(SIDECAR_PATH, number)
        if not place.is_file():
            continue
        sidecar = read_parquet(place)
        episodes = column(read_parquet(folder / file_name(DATA_PATH, number)), EPISODE)
        known = column(sidecar, "final_known")
        # Each file has whole episodes, in the order of its sidecar's rows.
        starts = np.r_[True, episodes[1:] != episodes[:-1]]
        for row, episode in enumerate(episodes[starts].tolist()):
            if known[row]:
                finals[episode] = {
                    camera: from_png(values(sidecar, f"final_image.{camera}")[row]) for camera in cameras
                }
    return finals
