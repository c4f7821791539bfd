"""Pictures of labelled episodes, from LeRobot datasets."""

# pyright: reportMissingTypeStubs=false

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
from learner.replay.prior.dataset import EPISODE, REWARD, SUCCESS
from learner.replay.prior.error import DemonstrationError
from learner.replay.prior.lerobot import NO_VIDEOS
from learner.replay.prior.source import find_source
from learner.rewards.labels import Labels

_Dataset: Any = LeRobotDataset


def read_pictures(
    sources: Sequence[str], features: Mapping[str, str], size: tuple[int, int]
) -> tuple[dict[str, Array], Labels]:
    """Camera -> u1 (M, height, width, 3), and the labels of these M frames.

    Success is of the frame after an action: a frame has the label of the action before it. The frame after
    the last action is the last one there is; in this project's replays it is the true one.

    Args:
        features: camera -> its feature in the datasets.
        size: width and height.

    Raises DemonstrationError: a source is no dataset, or lacks a feature, or has pictures of another size."""
    pictures: dict[str, list[Array]] = {camera: [] for camera in features}
    success: list[Array] = []
    episode: list[Array] = []
    count = 0
    for source in sources:
        for seen, labels in _episodes(source, features, size):
            for camera, one in seen.items():
                pictures[camera].append(one)
            success.append(labels)
            episode.append(np.full(len(labels), count))
            count += 1
    joined = {camera: np.concatenate(parts) for camera, parts in pictures.items()}
    return joined, Labels(np.concatenate(success), np.concatenate(episode))


def _episodes(
    source: str, features: Mapping[str, str], size: tuple[int, int]
) -> Iterator[tuple[dict[str, Array], Array]]:
    """Pictures by camera, and labels, of the T + 1 frames of each episode."""
    place = find_source(source)
    if place is not None and place.is_file():
        raise DemonstrationError(f"{source} has no pictures: name a LeRobot dataset that has {[*features]}")
    data = _Dataset(source, root=place, video_backend=NO_VIDEOS)
    shape = (size[1], size[0], 3)
    for feature in features.values():
        found = data.features.get(feature, {}).get("shape")
        if found is None or tuple(found) not in (shape, (3, *shape[:2])):
            known = [name for name in data.features if name.startswith("observation.images")]
            raise DemonstrationError(
                f"{source} has no {feature} of {shape[1]} x {shape[0]} pixels, it has "
                f"{known or 'no pictures'}: set task.cameras and task.camera_size, or choose other data"
            )
    success, numbers = _column(data, SUCCESS if SUCCESS in data.features else REWARD), _column(data, EPISODE)
    finals = {} if place is None else _finals(place, [*features])
    for number in np.unique(numbers).tolist():
        [rows] = (numbers == number).nonzero()
        frames = [data[row] for row in rows.tolist()]
        seen = {camera: [_picture(frame[name]) for frame in frames] for camera, name in features.items()}
        last = finals.get(number, {camera: each[-1] for camera, each in seen.items()})
        pictures = {camera: np.stack([*each, last[camera]]) for camera, each in seen.items()}
        yield pictures, np.concatenate([[False], success[rows] > 0])


def _column(data: Any, name: str) -> Array:
    """(M,) of all frames."""
    return np.asarray([np.asarray(value).item() for value in data.hf_dataset[name]])


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
