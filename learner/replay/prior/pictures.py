"""The pictures of recorded episodes, for bases and networks that look at cameras."""

# pyright: reportMissingTypeStubs=false
# lerobot's own annotations leave type arguments open: `_Dataset` hides them.

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lerobot.datasets.lerobot_dataset import LeRobotDataset

from learner.replay.dataset.arrow import Array
from learner.replay.dataset.format.layout import feature_name
from learner.replay.prior.dataset import STATE
from learner.replay.prior.demonstration import Demonstration
from learner.replay.prior.error import DemonstrationError
from learner.replay.prior.lerobot import NO_VIDEOS, downloaded
from learner.replay.prior.source import find_source
from protocol.pictures import depths_in

_Dataset: Any = LeRobotDataset


def with_pictures(
    source: str, episodes: Sequence[Demonstration], cameras: Sequence[str], size: tuple[int, int]
) -> list[Demonstration]:
    """Episodes of a source in its order, with the pictures of these cameras. LeRobot reads them, from files
    or videos, when they are asked for.

    Args:
        size: width and height that they must have.

    Raises:
        DemonstrationError: no LeRobot dataset, one without these cameras, or pictures of another size.
    """
    dataset = _RecordedPictures(source, cameras, size)
    return [replace(each, pictures=_Shown(dataset, n, each)) for n, each in enumerate(episodes)]


class _RecordedPictures:
    """Those of a dataset. The newest episode's are kept: plans and features ask one after the other."""

    def __init__(self, source: str, cameras: Sequence[str], size: tuple[int, int]) -> None:
        self.cameras, self._source = tuple(cameras), source
        self._dataset = _open(source, self.cameras)
        self._require_cameras(size)
        self._newest: tuple[int, dict[str, Array]] | None = None

    def _require_cameras(self, size: tuple[int, int]) -> None:
        features = self._dataset.features
        if depths := depths_in(self.cameras):
            raise DemonstrationError(
                f"{self._source}: depth is not read from recorded data, and {', '.join(depths)} is looked "
                "at: learn without prior data (learner.demos=null algo.prior_fraction=0)"
            )
        for camera in self.cameras:
            name = feature_name(camera)
            if name not in features:
                there = sorted(each for each in features if features[each]["dtype"] in ("image", "video"))
                raise DemonstrationError(
                    f"{self._source} has no pictures {name}, which are looked at; it has {there}"
                )
            height, width = features[name]["shape"][:2]
            if (width, height) != size:
                raise DemonstrationError(
                    f"{self._source} has pictures {name} of {width} x {height}, task.camera_size is "
                    f"{list(size)}"
                )

    def of(self, number: int, episode: Demonstration) -> dict[str, Array]:
        """Camera -> u1 (T, height, width, 3). Raises DemonstrationError: they cannot be read."""
        if self._newest is None or self._newest[0] != number:
            try:
                self._newest = number, self._read(number, episode)
            except DemonstrationError:
                raise
            except Exception as error:  # parquet, pictures, videos: a dozen kinds
                raise DemonstrationError(
                    f"{self._source}, episode {number}: its pictures cannot be read: {error}"
                ) from error
        return self._newest[1]

    def _read(self, number: int, episode: Demonstration) -> dict[str, Array]:
        first = int(self._dataset.meta.episodes[number]["dataset_from_index"])
        frames = [self._dataset[first + frame] for frame in range(len(episode.actions))]
        state = np.asarray(frames[0][STATE]).reshape(-1)
        if not np.array_equal(state, episode.observations[0, : len(state)]):
            raise DemonstrationError(
                f"{self._source}: its pictures of episode {number} are not in the order of its data files"
            )
        return {camera: _bytes([frame[feature_name(camera)] for frame in frames]) for camera in self.cameras}


class _Shown(Mapping[str, Array]):
    """Those of one episode, read when they are asked for."""

    def __init__(self, dataset: _RecordedPictures, number: int, episode: Demonstration) -> None:
        self._dataset, self._number, self._episode = dataset, number, episode

    def __getitem__(self, camera: str) -> Array:
        return self._dataset.of(self._number, self._episode)[camera]

    def __iter__(self) -> Iterator[str]:
        return iter(self._dataset.cameras)

    def __len__(self) -> int:
        return len(self._dataset.cameras)


def _open(source: str, cameras: Sequence[str]) -> Any:
    place = find_source(source)
    if place is not None and place.is_file():
        raise DemonstrationError(
            f"{source} has no pictures, and {', '.join(cameras)} is looked at: name a LeRobot dataset that "
            "has them, or none (learner.demos=null algo.prior_fraction=0)"
        )
    folder: Path = downloaded(source) if place is None else place
    try:
        return _Dataset(folder.name, root=folder, video_backend=NO_VIDEOS)
    except Exception as error:  # as above
        raise DemonstrationError(f"{source}: LeRobot cannot open it: {error}") from error


def _bytes(pictures: Sequence[torch.Tensor]) -> Array:
    """u1 (T, H, W, 3) of LeRobot's (3, H, W) in [0, 1]."""
    rows = torch.stack(list(pictures)).permute(0, 2, 3, 1) * 255
    return np.asarray(rows.round(), np.uint8)
