"""The LeRobot v3.0 format as the replay uses it: names, schemas, places. Opens nothing for writing.

Checked against lerobot 0.6.1 (lerobot.datasets.utils, lerobot.datasets.dataset_metadata).
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from learner.replay.dataset.episodes import Lane
from learner.replay.dataset.layout import DATA_PATH, FILES_PER_CHUNK, VIDEO_PATH, feature_name
from learner.replay.dataset.video import CODEC, PIXELS

DATA_FILE_MB = 100


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


def image_features(spec: DatasetSpec) -> dict[str, dict[str, Any]]:
    """Column -> dtype, shape, names, as info.json lists them."""
    return {feature_name(camera): _feature(spec, *size) for camera, size in spec.cameras.items()}


def _feature(spec: DatasetSpec, height: int, width: int) -> dict[str, Any]:
    feature = {"dtype": spec.images, "shape": [height, width, 3], "names": ["height", "width", "channels"]}
    if spec.images != "video":
        return feature
    return feature | {
        "info": {
            "video.height": height,
            "video.width": width,
            "video.channels": 3,
            "video.codec": CODEC,
            "video.pix_fmt": PIXELS,
            "video.is_depth_map": False,
            "video.fps": spec.fps,
            "has_audio": False,
        }
    }
