"""LeRobot datasets as demonstrations, and ManiSkill's as LeRobot datasets."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from lerobot.datasets.lerobot_dataset import LeRobotDataset

from learner.replay.demonstrations import Demonstration, DemonstrationError

ACTION, SUCCESS, REWARD, DONE = "action", "next.success", "next.reward", "next.done"


def read_lerobot(source: str, observation: Sequence[str], limit: int | None = None) -> list[Demonstration]:
    """Episodes of a LeRobot v3.0 dataset: a folder, or a hub id.

    LeRobot keeps no observation after the last action, so the last one stands in for it. Without a
    `next.success` nothing counts as one.

    Args:
        observation: features that make up an observation, one after another.

    Raises:
        DemonstrationError: not to be had, or without these features; names what there is.
    """
    dataset = _open(source)
    for name in [*observation, ACTION]:
        if name not in dataset.features:
            raise DemonstrationError(f"{source} has no feature {name}, it has {sorted(dataset.features)}")
    columns = dataset.hf_dataset.with_format("numpy")[:]
    seen = np.concatenate([_column(columns, name) for name in observation], axis=1).astype(np.float32)
    actions = _column(columns, ACTION).astype(np.float32)
    success = np.zeros(len(actions), bool)
    if SUCCESS in dataset.features:
        success = _column(columns, SUCCESS)[:, 0].astype(bool)
    bounds = np.flatnonzero(np.diff(columns["episode_index"])) + 1
    parts = zip(*(np.split(values, bounds) for values in (seen, actions, success)), strict=True)
    return [
        Demonstration(np.concatenate([seen, seen[-1:]]), actions, success) for seen, actions, success in parts
    ][:limit]


def write_lerobot(
    folder: Path, episodes: Sequence[Demonstration], *, task: str, robot_type: str, fps: int
) -> None:
    """Write `episodes` with LeRobot's own writer: reward 1 on success, done at the end.

    Raises:
        DemonstrationError: the folder exists, or there is nothing to write.
    """
    if folder.exists() or not episodes:
        raise DemonstrationError(f"{folder} exists already" if folder.exists() else "no episodes to write")
    dataset = LeRobotDataset.create(
        repo_id=f"local/{folder.name}",
        root=folder,
        fps=fps,
        robot_type=robot_type,
        features=_features(episodes[0]),
        use_videos=False,
    )
    for episode in episodes:
        for frame in range(len(episode.actions)):
            dataset.add_frame(_frame(episode, frame) | {"task": task})
        dataset.save_episode()
    dataset.finalize()


def _open(source: str) -> Any:
    folder = Path(source)
    try:
        if folder.is_dir():
            if not (folder / "meta" / "info.json").is_file():
                raise DemonstrationError(f"{source} is not a LeRobot dataset: meta/info.json is missing")
            return LeRobotDataset(f"local/{folder.name}", root=folder)
        return LeRobotDataset(source)
    except DemonstrationError:
        raise
    except Exception as error:  # hub, network, parquet: a dozen kinds
        raise DemonstrationError(
            f"no demonstrations at {source}: make them with bash launch/demos.sh, or give the folder or hub "
            f"id of a LeRobot v3.0 dataset ({error})"
        ) from error


def _column(columns: dict[str, np.ndarray], name: str) -> np.ndarray:
    values = np.asarray(columns[name])
    return values.reshape(len(values), -1)


def _features(episode: Demonstration) -> dict[str, dict[str, Any]]:
    """Types and shapes; LeRobot adds timestamp, indices and task by itself."""

    def numbers(name: str, count: int) -> dict[str, Any]:
        return {"dtype": "float32", "shape": (count,), "names": [f"{name}_{i}" for i in range(count)]}

    flag = {"dtype": "bool", "shape": (1,), "names": None}
    return {
        "observation.state": numbers("state", episode.observations.shape[1]),
        ACTION: numbers("action", episode.actions.shape[1]),
        REWARD: {"dtype": "float32", "shape": (1,), "names": None},
        DONE: flag,
        SUCCESS: flag,
    }


def _frame(episode: Demonstration, frame: int) -> dict[str, np.ndarray]:
    success = episode.success[frame]
    return {
        "observation.state": episode.observations[frame],
        ACTION: episode.actions[frame],
        REWARD: np.array([success], np.float32),
        DONE: np.array([frame == len(episode.actions) - 1]),
        SUCCESS: np.array([success]),
    }
