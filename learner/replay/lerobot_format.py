"""The LeRobot v3.0 format as the replay uses it: names, schemas, places. Opens nothing for writing.

Checked against lerobot 0.4.4 (lerobot.datasets.utils, lerobot.datasets.lerobot_dataset).
"""

from __future__ import annotations

import json
import re
import shlex
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from learner.replay.episodes import Episode
from learner.replay.lerobot_stats import STATISTICS

FILES_PER_CHUNK = 1000
DATA_FILE_MB = 100

_FILE = "chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
DATA_PATH = "data/" + _FILE
EPISODES_PATH = "meta/episodes/" + _FILE
# Outside LeRobot's globs: its readers pass it by.
FINALS_PATH = "final_observations/" + _FILE
INFO_PATH = "meta/info.json"
STATS_PATH = "meta/stats.json"
TASKS_PATH = "meta/tasks.parquet"
# Ours: {"repo_id": str, "actors": [actor id of each value of the column `actor`]}
ORIGIN_PATH = "meta/residual_rl.json"

_REPO_ID = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*(/[A-Za-z0-9_][A-Za-z0-9._-]*)?")


@dataclass(frozen=True)
class DatasetSpec:
    """What holds for the whole dataset."""

    repo_id: str
    observation_dim: int
    action_dim: int
    fps: int
    robot_type: str
    task: str

    def __post_init__(self) -> None:
        for key in ("observation_dim", "action_dim", "fps"):
            if getattr(self, key) < 1:
                raise ValueError(f"{key} must be at least 1, got {getattr(self, key)}")
        if not _REPO_ID.fullmatch(self.repo_id):
            raise ValueError(f"repo_id must be name or owner/name, got {self.repo_id!r}")
        if not self.task:
            raise ValueError("task must say something, got an empty text")

    def features(self) -> dict[str, dict[str, Any]]:
        """Column -> dtype, shape, names, as info.json lists them."""
        kinds = {
            "observation.state": ("float32", self.observation_dim),
            "action": ("float32", self.action_dim),
            "next.reward": ("float32", 1),
            "next.done": ("bool", 1),
            "next.success": ("bool", 1),
            "next.truncated": ("bool", 1),
            "base_action": ("float32", self.action_dim),
            "residual": ("float32", self.action_dim),
            "weights_version": ("int64", 1),
            "decision_start": ("bool", 1),
            "actor": ("int64", 1),
            "sub_env": ("int64", 1),
            "timestamp": ("float32", 1),
            "frame_index": ("int64", 1),
            "episode_index": ("int64", 1),
            "index": ("int64", 1),
            "task_index": ("int64", 1),
        }
        return {name: {"dtype": d, "shape": [width], "names": None} for name, (d, width) in kinds.items()}

    def slices(self) -> dict[str, slice]:
        """Column -> its place where all columns lie side by side in one matrix."""
        widths = {name: feature["shape"][0] for name, feature in self.features().items()}
        ends = np.cumsum(list(widths.values()))
        return {
            name: slice(int(end) - width, int(end))
            for (name, width), end in zip(widths.items(), ends, strict=True)
        }

    def info(self, episodes: int, frames: int) -> dict[str, Any]:
        """What info.json holds."""
        return {
            "codebase_version": "v3.0",
            "robot_type": self.robot_type,
            "total_episodes": episodes,
            "total_frames": frames,
            "total_tasks": 1,
            "chunks_size": FILES_PER_CHUNK,
            "data_files_size_in_mb": DATA_FILE_MB,
            "video_files_size_in_mb": 200,
            "fps": self.fps,
            "splits": {"train": f"0:{episodes}"},
            "data_path": DATA_PATH,
            "video_path": None,
            "features": self.features(),
        }


def file_place(number: int) -> dict[str, int]:
    """chunk_index and file_index of the number-th file."""
    return {"chunk_index": number // FILES_PER_CHUNK, "file_index": number % FILES_PER_CHUNK}


def frame_columns(
    episode: Episode, spec: DatasetSpec, *, actor: int, episode_index: int, first_index: int
) -> dict[str, np.ndarray]:
    """One dataset frame an environment step: column -> (T,) or (T, width), in the order of the features."""
    length = len(episode)
    frame_index = np.arange(length)
    at_end = frame_index == length - 1
    return {
        "observation.state": episode.observation,
        "action": episode.action,
        "next.reward": episode.reward,
        "next.done": at_end,
        "next.success": episode.success,
        "next.truncated": at_end & episode.truncated,
        "base_action": episode.base_action,
        "residual": episode.residual,
        "weights_version": episode.weights_version,
        "decision_start": episode.decision_start,
        "actor": np.full(length, actor),
        "sub_env": np.full(length, episode.sub_env),
        "timestamp": (frame_index / spec.fps).astype(np.float32),
        "frame_index": frame_index,
        "episode_index": np.full(length, episode_index),
        "index": first_index + frame_index,
        "task_index": np.zeros(length, np.int64),
    }


def fixed_lists(values: np.ndarray) -> pa.Array:
    """(T,) or (T, 1) as plain values, (T, width) as lists of fixed size: what LeRobot's schema says."""
    flat = pa.array(values.reshape(-1))
    width = values.size // len(values)
    return flat if width == 1 else pa.FixedSizeListArray.from_arrays(flat, width)


def episodes_table(
    rows: list[dict[str, Any]], statistics: np.ndarray, slices: dict[str, slice], task: str
) -> pa.Table:
    """The table in meta/episodes for E rows and f8 (E, 9, D) statistics."""
    columns: dict[str, pa.Array] = {
        name: pa.array([row[name] for row in rows], pa.int64()) for name in rows[0]
    }
    columns["tasks"] = pa.array([[task]] * len(rows))
    lengths = np.array([row["length"] for row in rows])
    for feature, at in slices.items():
        for i, name in enumerate(STATISTICS):
            columns[f"stats/{feature}/{name}"] = _lists(statistics[:, i, at])
        columns[f"stats/{feature}/count"] = _lists(lengths[:, None])
    return pa.table(columns)


def _lists(values: np.ndarray) -> pa.Array:
    offsets = np.arange(len(values) + 1, dtype=np.int32) * np.int32(values.shape[1])
    return pa.ListArray.from_arrays(pa.array(offsets), pa.array(values.reshape(-1)))


def visualiser_command(folder: Path, repo_id: str, episode: int) -> str:
    """The shell command that shows an episode of the dataset in `folder` (which holds meta/)."""
    program = Path(sys.executable).with_name("lerobot-dataset-viz")
    if program.is_relative_to(Path.cwd()):
        program = program.relative_to(Path.cwd())
    # Episodes are small and worker processes slow to start.
    words = [program, "--repo-id", repo_id, "--root", folder, "--episode-index", episode, "--num-workers", 0]
    return shlex.join(map(str, words))


@dataclass(frozen=True)
class Outcome:
    """How one episode of the dataset went."""

    episode: int
    frames: int
    success: bool
    total_reward: float


def read_outcomes(folder: Path) -> list[Outcome]:
    """The committed episodes in order, from the metadata alone.

    Raises:
        FileNotFoundError: nothing was committed to `folder`.
    """
    total = json.loads((folder / INFO_PATH).read_text())["total_episodes"]
    names = ["episode_index", "length", "stats/next.success/max", "stats/next.reward/mean"]
    outcomes: list[Outcome] = []
    for path in sorted((folder / "meta/episodes").glob("*/*.parquet")):
        columns = pq.ParquetFile(path).read(names).to_pydict().values()
        outcomes += [
            Outcome(index, length, success[0] > 0, length * mean[0])
            for index, length, success, mean in zip(*columns, strict=True)
        ]
    return outcomes[:total]


def read_repo_id(folder: Path) -> str:
    """The id that the dataset was written under.

    Raises:
        FileNotFoundError: nothing was committed to `folder`.
    """
    return json.loads((folder / ORIGIN_PATH).read_text())["repo_id"]
