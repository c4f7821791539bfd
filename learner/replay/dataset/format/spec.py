"""The specification of a dataset: its columns, and the content of info.json.

Checked against lerobot 0.6.1 (lerobot.datasets.utils, .feature_utils, .dataset_metadata, .dataset_writer).
"""

import dataclasses
import itertools
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from config.process import UsageError
from learner.replay.dataset.episode import Lane
from learner.replay.dataset.format.layout import DATA_PATH, FILES_PER_CHUNK, VIDEO_PATH, feature_name
from learner.replay.dataset.format.video import CODEC, PIXELS
from protocol.arrays import DTYPES
from protocol.experience import Column, columns_of
from protocol.pictures import COLOURS, DISTANCES, modality_of

type Feature = dict[str, Any]
"""dtype, shape and names, as info.json lists them."""

# Of the columns of experience that are features: LeRobot's name of each.
FEATURES = {
    "action": "action", "base_plan": "base_action", "residual": "residual",
    "reward": "next.reward", "success": "next.success", "weights_version": "weights_version",
}  # fmt: skip

# The same of optional columns; the others have their own name.
_OPTIONAL_FEATURES = {"intervention": "is_intervention"}

# What two datasets must agree in, so that one can continue the other.
SAME_KIND = (
    "task", "fps", "robot_type", "observation_dim", "action_dim", "state_dim", "residual_every", "cameras",
    "images", "optional_columns", "features_dim",
)  # fmt: skip

_REPO_ID = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*(/[A-Za-z0-9_][A-Za-z0-9._-]*)?")


class DatasetError(UsageError):
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
    """The first dimensions of an observation are the robot's own (observation.state), the others the
    environment's (observation.environment_state), as policies expect it; None: all are observation.state."""
    residual_every: int | None = None
    """Frames of a decision; None before the first one is known."""
    cameras: dict[str, list[int]] = field(default_factory=dict[str, list[int]])
    """Height and width of each camera's images."""
    images: str | None = None
    """"video" or "image": how they are stored, see `videos`; None without cameras."""
    optional_columns: list[str] = field(default_factory=list[str])
    """Optional columns of the experience, see `protocol.experience` and `optional_feature`."""
    features_dim: int = 0
    """Width of the base's features, which are in the sidecar; 0: they are not kept."""

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

    def origin(
        self, actors: Iterable[str], dropped: Mapping[Lane, int], played: Sequence[int]
    ) -> dict[str, Any]:
        """Content of meta/residual_rl.json."""
        return {
            **dataclasses.asdict(self),
            "actors": list(actors),
            "settled": [[*lane, count] for lane, count in dropped.items()],
            "played": list(played),
        }

    @property
    def videos(self) -> list[str]:
        """The cameras whose images are videos: a video would round depth."""
        return [name for name in self.cameras if self.images == "video" and modality_of(name) is COLOURS]

    @property
    def image_channels(self) -> int:
        """Of all cameras together."""
        return sum(modality_of(camera).channels for camera in self.cameras)

    @classmethod
    def from_origin(cls, content: Mapping[str, Any]) -> "DatasetSpec":
        """The other way round; fields that are younger than the dataset have their defaults.
        Raises TypeError, ValueError: no such content."""
        names = {each.name for each in dataclasses.fields(cls)}
        return cls(**{name: value for name, value in content.items() if name in names})

    def features(self) -> dict[str, Feature]:
        return self.number_features() | image_features(self)

    def table_columns(self) -> set[str]:
        """Those in the files of frames: all but videos."""
        return {name for name, feature in self.features().items() if feature["dtype"] != "video"}

    def number_features(self) -> dict[str, Feature]:
        """All columns but images, in the order of the dataset."""
        sent = {column.name: column for column in columns_of(self)}
        observation, kept = sent["observation"], {f: sent[name] for name, f in FEATURES.items()}
        types = {
            **{
                name: (*self._type(observation)[:1], width)
                for name, width in self.observation_columns.items()
            },
            "action": self._type(kept["action"]),
            "next.reward": self._type(kept["next.reward"]),
            "next.done": ("bool", 1),
            "next.success": self._type(kept["next.success"]),
            "next.truncated": ("bool", 1),
            "base_action": self._type(kept["base_action"]),
            "residual": self._type(kept["residual"]),
            "weights_version": self._type(kept["weights_version"]),
            "decision_start": ("bool", 1),
            "actor": ("int64", 1),
            "sub_env": ("int64", 1),
            "timestamp": ("float32", 1),
            "frame_index": ("int64", 1),
            "episode_index": ("int64", 1),
            "index": ("int64", 1),
            "task_index": ("int64", 1),
            **{optional_feature(name): self._type(sent[name]) for name in self.optional_columns},
        }
        return {name: {"dtype": d, "shape": [width], "names": None} for name, (d, width) in types.items()}

    def _type(self, column: Column) -> tuple[str, int]:
        """dtype and width of a column of experience in the dataset."""
        sizes = {"k": self.residual_every or 0, "O": self.observation_dim, "A": self.action_dim}
        item = [dim if isinstance(dim, int) else sizes[dim] for dim in column.item]
        return DTYPES[column.dtype].name, math.prod(item)

    def slices(self) -> dict[str, slice]:
        """Column -> its place in one matrix of all columns side by side, the channels of the cameras last."""
        widths = {name: feature["shape"][0] for name, feature in self.number_features().items()}
        widths |= {feature_name(camera): modality_of(camera).channels for camera in self.cameras}
        ends = itertools.accumulate(widths.values())
        return {
            name: slice(end - width, end) for (name, width), end in zip(widths.items(), ends, strict=True)
        }

    def info(self, episodes: int, frames: int) -> dict[str, Any]:
        """Content of info.json."""
        return {
            "codebase_version": "v3.0",
            "robot_type": self.robot_type,
            "total_episodes": episodes,
            "total_frames": frames,
            "total_tasks": 1,
            "chunks_size": FILES_PER_CHUNK,
            "data_files_size_in_mb": 100,
            "video_files_size_in_mb": 200,
            "fps": self.fps,
            "splits": {"train": f"0:{episodes}"},
            "data_path": DATA_PATH,
            "video_path": VIDEO_PATH if self.videos else None,
            "features": self.features(),
        }


def optional_feature(column: str) -> str:
    """Name of an optional column's feature."""
    return _OPTIONAL_FEATURES.get(column, column)


def image_features(spec: DatasetSpec) -> dict[str, Feature]:
    return {feature_name(camera): _feature(spec, camera, *size) for camera, size in spec.cameras.items()}


def _feature(spec: DatasetSpec, camera: str, height: int, width: int) -> Feature:
    kind = modality_of(camera)
    feature: Feature = {
        "dtype": "video" if camera in spec.videos else "image",
        "shape": [height, width, kind.channels],
        "names": ["height", "width", "channels"],
    }
    if kind is DISTANCES:
        return feature | {"info": {"is_depth_map": True, "depth_unit": "mm"}}
    if feature["dtype"] != "video":
        return feature
    return feature | {
        "info": {
            "video.height": height,
            "video.width": width,
            "video.channels": 3,
            "video.codec": CODEC,
            "video.pix_fmt": PIXELS,
            "is_depth_map": False,
            "video.fps": spec.fps,
            "has_audio": False,
        }
    }
