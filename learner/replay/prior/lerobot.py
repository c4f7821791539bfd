"""What needs LeRobot itself: datasets from the hub, and demonstrations as a LeRobot dataset."""

# pyright: reportMissingTypeStubs=false
# lerobot's own annotations leave type arguments open: `_Dataset` hides them.

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from lerobot.datasets.lerobot_dataset import LeRobotDataset

from learner.replay.dataset.arrow import Array
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
