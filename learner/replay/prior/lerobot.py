"""LeRobot datasets as demonstrations, and ManiSkill's as LeRobot datasets."""

# pyright: reportMissingTypeStubs=false
# lerobot's own annotations leave type arguments open: `_Dataset` hides them.

import contextlib
import logging
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from lerobot.datasets.lerobot_dataset import LeRobotDataset

from learner.replay.dataset.arrow import Array, column, episode_lengths, matrix, read_parquet
from learner.replay.dataset.format.layout import SIDECAR_PATH, file_name, file_number, parquet_files
from learner.replay.dataset.format.spec import DatasetError
from learner.replay.dataset.read import open_snapshot, read_info
from learner.replay.prior.demonstration import Demonstration, DemonstrationError, require_usable

log = logging.getLogger(__name__)

_Dataset: Any = LeRobotDataset

STATE, ACTION = "observation.state", "action"
SUCCESS, REWARD, DONE = "next.success", "next.reward", "next.done"
_STANDARD = (STATE, "observation.environment_state")
# No video is read here: LeRobot's other reader says at length where FFmpeg's libraries are missing.
NO_VIDEOS = "pyav"


def read_lerobot(
    source: str, observation: Sequence[str] | None = None, limit: int | None = None, *, fps: int | None = None
) -> list[Demonstration]:
    """Episodes of a LeRobot v3.0 dataset: a folder, or a hub id.

    This project's replays have the observation after the last action; for other datasets the last recorded
    one is used twice. In a dataset that does not say which frames were successful, the last frame of each
    episode counts as success, with a warning in the log.

    Args:
        observation: features that make up an observation, one after another; None: observation.state, and
            observation.environment_state if there is one.
        fps: what the dataset must have; None: anything.

    Raises:
        DemonstrationError: not available, another format version or fps, or without these features; lists
            the features there are.
    """
    with opened(source) as folder:
        return read_folder(folder, source, observation, fps)[:limit]


@contextlib.contextmanager
def opened(source: str) -> Generator[Path]:
    """The folder of a dataset, in its present version.
    Raises DemonstrationError: not available; or instead of a DatasetError that was raised inside."""
    try:
        with open_snapshot(_folder_of(source)) as folder:
            yield folder
    except DatasetError as error:
        raise DemonstrationError(str(error)) from error


def read_folder(
    folder: Path, source: str, observation: Sequence[str] | None = None, fps: int | None = None
) -> list[Demonstration]:
    """`read_lerobot` for a local folder; messages name `source`."""
    info = read_info(folder)
    features = info["features"]
    names = _STANDARD if observation is None else observation
    columns = [name for name in names if observation is not None or name in features] or [STATE]
    for name in [*columns, ACTION]:
        if name not in features:
            raise DemonstrationError(f"{source} has no feature {name}, it has {sorted(features)}")
    if fps is not None and info["fps"] != fps:
        raise DemonstrationError(f"{source} has fps {info['fps']}, this run {fps}")
    if SUCCESS not in features:
        log.warning("%s lacks %s: the last frame of each episode counts as its success", source, SUCCESS)
    episodes: list[Demonstration] = []
    for path in parquet_files(folder / "data"):
        episodes += _episodes_of(folder, path, columns)
    require_usable(episodes, source)
    return episodes


def _folder_of(source: str) -> Path:
    if Path(source).is_dir():
        return Path(source)
    try:
        return Path(_Dataset(source, video_backend=NO_VIDEOS).root)
    except Exception as error:  # hub, network, parquet: a dozen kinds
        raise DemonstrationError(
            f"no demonstrations at {source}: make them with bash launch/demos.sh, or give the folder or hub "
            f"id of a LeRobot v3.0 dataset ({error})"
        ) from error


def _episodes_of(folder: Path, path: Path, columns: Sequence[str]) -> list[Demonstration]:
    frames = read_parquet(path)
    lengths = episode_lengths(frames)
    seen = np.concatenate([_floats(frames, name) for name in columns], axis=1)
    actions = _floats(frames, ACTION)
    ends = np.cumsum(lengths)
    if SUCCESS in frames.column_names:
        success = matrix(frames, SUCCESS)[:, 0].astype(bool)
    else:
        success = np.isin(np.arange(len(frames)), ends - 1)
    finals: list[Array | None] = [None] * len(lengths)
    if set(_STANDARD) >= set(columns):
        finals = _final_observations(folder / file_name(SIDECAR_PATH, file_number(path)), finals)
    made: list[Demonstration] = []
    for first, stop, final in zip(ends - lengths, ends, finals, strict=True):
        last = seen[stop - 1] if final is None else final
        whole = np.vstack([seen[first:stop], last])
        made.append(Demonstration(whole, actions[first:stop], success[first:stop]))
    return made


def _final_observations(sidecar: Path, unknown: list[Array | None]) -> list[Array | None]:
    if not sidecar.exists():
        return unknown
    table = read_parquet(sidecar, ["final_known", "final_observation"])
    known, final = column(table, "final_known"), _floats(table, "final_observation")
    return [row if there else None for row, there in zip(final, known, strict=True)]


def _floats(table: pa.Table, name: str) -> Array:
    """f4 (N, width)"""
    return matrix(table, name).astype(np.float32, copy=False)


def write_lerobot(
    folder: Path, episodes: Sequence[Demonstration], *, task: str, robot_type: str, fps: int
) -> None:
    """Write `episodes` with LeRobot's own writer: reward 1 on success, done at the end.
    Raises DemonstrationError: the folder exists, or there is nothing to write."""
    if folder.exists() or not episodes:
        raise DemonstrationError(f"{folder} exists already" if folder.exists() else "no episodes to write")
    dataset = _Dataset.create(
        repo_id=f"local/{folder.name}",
        root=folder,
        fps=fps,
        robot_type=robot_type,
        features=_features(episodes[0]),
        use_videos=False,
        video_backend=NO_VIDEOS,
    )
    for episode in episodes:
        for frame in range(len(episode.actions)):
            dataset.add_frame(_frame(episode, frame) | {"task": task})
        dataset.save_episode()
    dataset.finalize()


def _features(episode: Demonstration) -> dict[str, dict[str, Any]]:
    """Types and shapes; LeRobot adds timestamp, indices and task by itself."""

    def numbers(name: str, count: int) -> dict[str, Any]:
        return {"dtype": "float32", "shape": (count,), "names": [f"{name}_{i}" for i in range(count)]}

    flag = {"dtype": "bool", "shape": (1,), "names": None}
    return {
        STATE: numbers("state", episode.observations.shape[1]),
        ACTION: numbers("action", episode.actions.shape[1]),
        REWARD: {"dtype": "float32", "shape": (1,), "names": None},
        DONE: flag,
        SUCCESS: flag,
    }


def _frame(episode: Demonstration, frame: int) -> dict[str, Array]:
    success = episode.success[frame]
    return {
        STATE: episode.observations[frame],
        ACTION: episode.actions[frame],
        REWARD: np.array([success], np.float32),
        DONE: np.array([frame == len(episode.actions) - 1]),
        SUCCESS: np.array([success]),
    }
