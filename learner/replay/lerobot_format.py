"""The LeRobot v3.0 format as the replay uses it: names, schemas, places. Opens nothing for writing.

Checked against lerobot 0.4.4 (lerobot.datasets.utils, lerobot.datasets.lerobot_dataset).
"""

from __future__ import annotations

import dataclasses
import re
import shlex
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from learner.replay.episodes import Episode, Lane
from learner.replay.lerobot_images import (
    VIDEO_PATH,
    channels,
    episode_columns,
    feature_name,
    image_features,
    sidecar_columns,
)
from learner.replay.lerobot_stats import STATISTICS

FILES_PER_CHUNK = 1000
DATA_FILE_MB = 100

_FILE = "chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
DATA_PATH = "data/" + _FILE
EPISODES_PATH = "meta/episodes/" + _FILE
# Outside LeRobot's globs: its readers pass it by. One row an episode, see `sidecar_table`.
SIDECAR_PATH = "sidecar/" + _FILE
INFO_PATH = "meta/info.json"
STATS_PATH = "meta/stats.json"
TASKS_PATH = "meta/tasks.parquet"
# Ours: the fields of `DatasetSpec`, {"actors": [actor id of each value of the column `actor`],
# "settled": [[actor id, session, sub-environment, episodes], ...] of what was removed to keep a budget}
ORIGIN_PATH = "meta/residual_rl.json"

# A shard's three files.
PATTERNS = (DATA_PATH, SIDECAR_PATH, EPISODES_PATH)

_REPO_ID = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*(/[A-Za-z0-9_][A-Za-z0-9._-]*)?")


class DatasetError(ValueError):
    """A folder that cannot be used as a dataset; the message says which and why."""


@dataclass(frozen=True)
class DatasetSpec:
    """What holds for the whole dataset."""

    repo_id: str
    observation_dim: int
    action_dim: int
    fps: int
    robot_type: str
    task: str
    state_dim: int | None = None
    """So many first numbers of an observation are the robot's own (observation.state), the others the
    environment's (observation.environment_state), as policies expect it; None: all are observation.state."""
    residual_every: int | None = None
    """Frames of a decision; None before the first one is known."""
    cameras: dict[str, list[int]] = dataclasses.field(default_factory=dict)
    """Height and width of each camera's images."""
    images: str | None = None
    """"video" or "image": how they are kept; None where there are no cameras."""

    def __post_init__(self) -> None:
        if bool(self.cameras) != (self.images in ("video", "image")):
            raise ValueError(f"images must be video or image for cameras alone, got {self.images!r}")
        for key in ("observation_dim", "action_dim", "fps"):
            if getattr(self, key) < 1:
                raise ValueError(f"{key} must be at least 1, got {getattr(self, key)}")
        if self.state_dim is not None and not 0 < self.state_dim < self.observation_dim:
            raise ValueError(
                f"state_dim must be in 1 .. {self.observation_dim - 1}, below observation_dim, "
                f"got {self.state_dim}"
            )
        if not _REPO_ID.fullmatch(self.repo_id):
            raise ValueError(f"repo_id must be name or owner/name, got {self.repo_id!r}")
        if not self.task:
            raise ValueError("task must say something, got an empty text")

    @property
    def observation_columns(self) -> dict[str, int]:
        """The columns that make up an observation, in order, and how wide each is."""
        if self.state_dim is None:
            return {"observation.state": self.observation_dim}
        rest = self.observation_dim - self.state_dim
        return {"observation.state": self.state_dim, "observation.environment_state": rest}

    def origin(self, actors: list[str], forgotten: Mapping[Lane, int]) -> dict[str, Any]:
        """What meta/residual_rl.json holds."""
        return {
            **dataclasses.asdict(self),
            "actors": actors,
            "settled": [[*lane, count] for lane, count in forgotten.items()],
        }

    def features(self) -> dict[str, dict[str, Any]]:
        """Column -> dtype, shape, names, as info.json lists them."""
        return self.number_features() | image_features(self)

    def table_columns(self) -> set[str]:
        """Those that lie in the files of frames: all but videos."""
        return {name for name, feature in self.features().items() if feature["dtype"] != "video"}

    def number_features(self) -> dict[str, dict[str, Any]]:
        """Those that are no images."""
        kinds = {
            **{name: ("float32", width) for name, width in self.observation_columns.items()},
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
        """Column -> its place where all columns lie side by side in one matrix, the channels of the
        cameras last."""
        widths = {name: feature["shape"][0] for name, feature in self.number_features().items()}
        widths |= {feature_name(camera): 3 for camera in self.cameras}
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
            "video_path": VIDEO_PATH if self.images == "video" else None,
            "features": self.features(),
        }


def read_parquet(path: Path, columns: list[str] | None = None) -> pa.Table:
    """A whole file, in one piece however many row groups it has."""
    # Five times as fast as pyarrow.parquet.read_table where row groups are small.
    with pq.ParquetFile(path, memory_map=True) as file:
        return file.read(columns, use_threads=False).combine_chunks()


def file_place(number: int) -> dict[str, int]:
    """chunk_index and file_index of the number-th file."""
    return {"chunk_index": number // FILES_PER_CHUNK, "file_index": number % FILES_PER_CHUNK}


def file_name(pattern: str, number: int) -> str:
    """Where the number-th file lies, in the dataset's folder."""
    return pattern.format(**file_place(number))


def file_number(path: Path) -> int:
    """The other way round."""
    return int(path.parent.name.removeprefix("chunk-")) * FILES_PER_CHUNK + int(
        path.stem.removeprefix("file-")
    )


def frame_columns(
    episodes: list[Episode], spec: DatasetSpec, *, actors: list[int], first_episode: int, first_index: int
) -> dict[str, np.ndarray]:
    """One dataset frame an environment step, in the order of the features: column -> (N,) or (N, width).

    Args:
        actors: of each episode.
        first_episode: episode_index of the first of `episodes`.
        first_index: of its first frame.
    """
    o, a = spec.observation_dim, spec.action_dim
    values = np.concatenate([episode.values for episode in episodes])
    observation, action, base, residual, scalars = np.split(values, np.cumsum([o, a, a, a]), axis=1)
    widths = spec.observation_columns
    parts = np.split(observation, np.cumsum([*widths.values()])[:-1], axis=1)
    observations = dict(zip(widths, parts, strict=True))
    lengths = np.array([len(episode) for episode in episodes])
    ends = np.cumsum(lengths)
    total = int(ends[-1])
    frame_index = np.arange(total) - np.repeat(ends - lengths, lengths)
    done, truncated = np.zeros(total, bool), np.zeros(total, bool)
    done[ends - 1] = True
    truncated[ends - 1] = [episode.truncated for episode in episodes]
    return {
        **observations,
        "action": action,
        "next.reward": scalars[:, 0],
        "next.done": done,
        "next.success": scalars[:, 1] > 0,
        "next.truncated": truncated,
        "base_action": base,
        "residual": residual,
        "weights_version": np.concatenate([episode.weights_version for episode in episodes]),
        "decision_start": np.concatenate([episode.decision_start for episode in episodes]),
        "actor": np.repeat(np.array(actors, np.int64), lengths),
        "sub_env": np.repeat(np.array([episode.lane[2] for episode in episodes], np.int64), lengths),
        "timestamp": (frame_index / spec.fps).astype(np.float32),
        "frame_index": frame_index,
        "episode_index": np.repeat(first_episode + np.arange(len(episodes)), lengths),
        "index": first_index + np.arange(total),
        "task_index": np.zeros(total, np.int64),
    }


def fixed_lists(values: np.ndarray) -> pa.Array:
    """(T,) or (T, 1) as plain values, (T, width) as lists of fixed size: what LeRobot's schema says."""
    width = values.size // len(values)
    flat = pa.array(np.ascontiguousarray(values).reshape(-1))
    return flat if width == 1 else pa.FixedSizeListArray.from_arrays(flat, width)


def sidecar_table(
    episodes: list[Episode], first_episode: int, spec: DatasetSpec, image_statistics: np.ndarray, number: int
) -> pa.Table:
    """What the frames do not say of each episode: who sent it, how it ended, its last decision whole,
    each decision's place in the stream of rows, and what `lerobot_images.sidecar_columns` says."""
    identity = {
        "episode_index": np.arange(first_episode, first_episode + len(episodes)),
        "actor_id": pa.array([episode.lane[0] for episode in episodes], pa.string()),
        "session": pa.array([episode.lane[1] for episode in episodes], pa.int64()),
        "sub_env": pa.array([episode.lane[2] for episode in episodes], pa.int64()),
        "episode": pa.array([episode.number for episode in episodes], pa.int64()),
    }
    ends = {
        name: pa.array([getattr(episode, name) for episode in episodes], pa.bool_())
        for name in ("terminated", "truncated", "final_known")
    }
    numbers = {
        name: _fixed_lists_of([getattr(episode, name) for episode in episodes])
        for name in ("final_observation", "final_base_plan", "last_base_plan", "last_residual")
    }
    images = sidecar_columns(episodes, spec, image_statistics, number)
    positions = _ragged([episode.positions for episode in episodes])
    return pa.table({**identity, **ends, **numbers, "positions": positions, **images})


def _fixed_lists_of(arrays: list[np.ndarray]) -> pa.Array:
    flat = np.stack([array.reshape(-1) for array in arrays])
    return pa.FixedSizeListArray.from_arrays(pa.array(flat.reshape(-1)), flat.shape[1])


def _ragged(arrays: list[np.ndarray]) -> pa.Array:
    offsets = np.cumsum([0, *map(len, arrays)], dtype=np.int32)
    return pa.ListArray.from_arrays(pa.array(offsets), pa.array(np.concatenate(arrays)))


def episodes_table(
    first_episode: int,
    first_index: int,
    lengths: np.ndarray,
    statistics: np.ndarray,
    spec: DatasetSpec,
    number: int,
    sidecar: pa.Table,
) -> pa.Table:
    """The table in meta/episodes for E episodes in the number-th file and f8 (E, 9, D) statistics."""
    count = len(lengths)
    ends = first_index + np.cumsum(lengths)
    columns: dict[str, pa.Array] = {
        "episode_index": pa.array(np.arange(first_episode, first_episode + count)),
        "length": pa.array(lengths),
        "dataset_from_index": pa.array(ends - lengths),
        "dataset_to_index": pa.array(ends),
        "tasks": pa.array([[spec.task]] * count),
    }
    columns |= episode_columns(sidecar, lengths, spec)
    pictures = image_features(spec)
    for feature, at in spec.slices().items():
        lists = channels if feature in pictures else _lists
        for i, name in enumerate(STATISTICS):
            columns[f"stats/{feature}/{name}"] = lists(statistics[:, i, at])
        columns[f"stats/{feature}/count"] = _lists(lengths[:, None])
    return placed(pa.table(columns), number)


def placed(episodes: pa.Table, number: int) -> pa.Table:
    """The same episodes, said to lie in the number-th file."""
    for kind in ("data", "meta/episodes"):
        for key, value in file_place(number).items():
            episodes = with_column(episodes, f"{kind}/{key}", np.full(len(episodes), value))
    return episodes


def with_column(table: pa.Table, name: str, values: np.ndarray | pa.Array) -> pa.Table:
    """The table with one column set anew, or added."""
    at = table.schema.get_field_index(name)
    if at < 0:
        return table.append_column(name, pa.array(values))
    return table.set_column(at, name, pa.array(values))


def episode_lengths(frames: pa.Table) -> np.ndarray:
    """Frames of each episode in a table of whole episodes, one after the other."""
    index = frames["episode_index"].to_numpy()
    starts = np.flatnonzero(np.r_[True, index[1:] != index[:-1]])
    return np.diff(np.r_[starts, len(index)])


def as_matrix(frames: pa.Table, spec: DatasetSpec) -> np.ndarray:
    """f8 (N, D), all columns but images side by side as `DatasetSpec.slices` says."""
    columns = []
    for name in spec.number_features():
        flat = frames[name].combine_chunks()
        flat = flat.flatten() if pa.types.is_fixed_size_list(flat.type) else flat
        columns.append(flat.to_numpy(zero_copy_only=False).reshape(len(frames), -1))
    return np.concatenate(columns, axis=1).astype(np.float64, copy=False)


def _lists(values: np.ndarray) -> pa.Array:
    offsets = np.arange(len(values) + 1, dtype=np.int32) * np.int32(values.shape[1])
    return pa.ListArray.from_arrays(pa.array(offsets), pa.array(np.ascontiguousarray(values).reshape(-1)))


def visualiser_command(folder: Path, repo_id: str, episode: int) -> str:
    """The shell command that shows an episode of the dataset in `folder` (which holds meta/)."""
    program = Path(sys.executable).with_name("lerobot-dataset-viz")
    if program.is_relative_to(Path.cwd()):
        program = program.relative_to(Path.cwd())
    # Episodes are small and worker processes slow to start.
    words = [program, "--repo-id", repo_id, "--root", folder, "--episode-index", episode, "--num-workers", 0]
    return shlex.join(map(str, words))
