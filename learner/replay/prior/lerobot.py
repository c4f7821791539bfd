"""What needs LeRobot itself: datasets from the hub, and demonstrations as a LeRobot dataset."""

# pyright: reportMissingTypeStubs=false
# lerobot's own annotations leave type arguments open: `_Dataset` hides them.

import itertools
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from lerobot.datasets.lerobot_dataset import LeRobotDataset

from config.files import whole_folder
from learner.replay.dataset.arrow import Array
from learner.replay.dataset.format.layout import feature_name
from learner.replay.prior.dataset import ACTION, DONE, REWARD, STATE, SUCCESS
from learner.replay.prior.demonstration import Demonstration
from learner.replay.prior.error import DemonstrationError

_Dataset: Any = LeRobotDataset

# No video is read here: LeRobot's other reader says at length where FFmpeg's libraries are missing.
NO_VIDEOS = "pyav"


def downloaded(source: str) -> Path:
    """The folder of a dataset of the hub.
    Raises DemonstrationError: it cannot be downloaded, and there is no such folder here either."""
    try:
        return Path(_Dataset(source, video_backend=NO_VIDEOS).root)
    except Exception as error:  # hub, network, parquet: a dozen kinds
        raise DemonstrationError(
            f"no demonstrations at {source}: there is no such file or folder, and no LeRobot v3.0 dataset of "
            f"the hub could be loaded ({error}); make some with bash launch/demos.sh"
        ) from error


def require_new(folder: Path) -> None:
    """Raise DemonstrationError if `write_lerobot` could not write to `folder`."""
    if folder.exists():
        raise DemonstrationError(f"{folder} exists already: move it away, or name another folder")


def write_lerobot(
    folder: Path,
    episodes: Iterable[Demonstration],
    *,
    task: str,
    robot_type: str,
    fps: int,
    state: Sequence[int] | None = None,
) -> None:
    """Write `episodes`, one after the other as they come, with LeRobot's own writer: reward 1 on success,
    done at the end, and pictures without loss. The folder is there once all are in it.

    Args:
        state: dimensions of the observation that observation.state has; None: all.

    Raises DemonstrationError: the folder exists, or there is nothing to write."""
    require_new(folder)
    coming = iter(episodes)
    first = next(coming, None)
    if first is None:
        raise DemonstrationError("no episodes to write")
    chosen = range(first.observations.shape[1]) if state is None else state
    taken = DemonstrationError(f"{folder} is being written by another process")
    with whole_folder(folder, taken) as fresh:
        fresh.rmdir()  # LeRobot makes it
        dataset = _Dataset.create(
            repo_id=f"local/{folder.name}",
            root=fresh,
            fps=fps,
            robot_type=robot_type,
            features=_features(first, chosen),
            use_videos=False,
            video_backend=NO_VIDEOS,
        )
        try:
            for episode in itertools.chain([first], coming):
                for frame in range(len(episode.actions)):
                    dataset.add_frame(_frame(episode, frame, chosen) | {"task": task})
                dataset.save_episode()
        finally:
            dataset.finalize()  # after an error too: else LeRobot writes the rest once the folder is gone


def _features(episode: Demonstration, state: Sequence[int]) -> dict[str, dict[str, Any]]:
    """Types and shapes; LeRobot adds timestamp, indices and task by itself."""

    def numbers(name: str, dims: Sequence[int]) -> dict[str, Any]:
        return {"dtype": "float32", "shape": (len(dims),), "names": [f"{name}_{dim}" for dim in dims]}

    flag = {"dtype": "bool", "shape": (1,), "names": None}
    return {
        STATE: numbers("state", state),
        ACTION: numbers("action", range(episode.actions.shape[1])),
        REWARD: {"dtype": "float32", "shape": (1,), "names": None},
        DONE: flag,
        SUCCESS: flag,
    } | {
        feature_name(camera): {
            "dtype": "image",
            "shape": pictures.shape[1:],
            "names": ["height", "width", "channels"],
        }
        for camera, pictures in episode.pictures.items()
    }


def _frame(episode: Demonstration, frame: int, state: Sequence[int]) -> dict[str, Array]:
    success = episode.success[frame]
    return {
        STATE: episode.observations[frame, state],
        ACTION: episode.actions[frame],
        REWARD: np.array([success], np.float32),
        DONE: np.array([frame == len(episode.actions) - 1]),
        SUCCESS: np.array([success]),
    } | {feature_name(camera): pictures[frame] for camera, pictures in episode.pictures.items()}
