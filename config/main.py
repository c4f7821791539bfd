"""Typed, checked configuration. Defaults live in the YAML files beside this one, none here."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import msgspec
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from config.algo import Algo, simulator_reward
from config.learner import Evaluation, JournalSettings, Learner, Wandb
from config.relation import Relation
from config.section import ConfigError, Section

__all__ = [
    "Actor",
    "Algo",
    "Base",
    "Config",
    "ConfigError",
    "DiffusionSettings",
    "Evaluation",
    "JournalSettings",
    "LeRobotSettings",
    "Learner",
    "Relation",
    "Section",
    "Task",
    "Wandb",
    "Wire",
    "ZeroSettings",
    "parse_config",
    "simulator_reward",
]


class Task(Section, frozen=True):
    """config/task"""

    name: str
    env_id: str
    control_mode: str
    obs_mode: Literal["state"]
    sizes: tuple[int, int] | None
    cameras: tuple[str, ...]
    camera_size: tuple[int, int]
    residual_dims: tuple[int, ...] | None
    residual_scale: float
    relations: dict[str, tuple[Relation, ...]]
    max_episode_steps: int
    reward_mode: Literal["sparse", "normalized_dense"]
    reconfigure: bool

    def __post_init__(self) -> None:
        self.at_least(1, "max_episode_steps")
        self.positive("residual_scale")
        self.require(self.sizes is None or min(self.sizes) >= 1, "sizes", "numbers of 1 or more, or null")
        # Videos store the colours of two by two pixels as one.
        sizes_fit = all(size >= 16 and size % 2 == 0 for size in self.camera_size)
        self.require(sizes_fit, "camera_size", "two even numbers of 16 or more")
        plain = all(name.replace("_", "").isalnum() for name in self.cameras)
        distinct = len(set(self.cameras)) == len(self.cameras)
        self.require(plain and distinct, "cameras", "different names of letters, digits and _")


class Base(Section, frozen=True, tag_field="type"):
    """config/base, chosen with base=<type>"""

    path: str
    act_horizon: int

    def __post_init__(self) -> None:
        self.at_least(1, "act_horizon")


class DiffusionSettings(Base, frozen=True, tag="diffusion"):
    """config/base/diffusion.yaml"""

    inference_steps: int
    native: bool
    cuda_graph: bool
    pad_obs_to: int | None

    def __post_init__(self) -> None:
        super().__post_init__()
        self.at_least(1, "inference_steps")


class ZeroSettings(Base, frozen=True, tag="zero"):
    """config/base/zero.yaml"""


class LeRobotSettings(Base, frozen=True, tag="lerobot"):
    """config/base/lerobot.yaml"""

    control_mode: str
    observation: dict[str, tuple[int, int]] | None
    cameras: dict[str, str] | None
    instruction: str
    overrides: dict[str, Any] | None


class Wire(Section, frozen=True):
    """config/wire.yaml"""

    host: str
    experience_port: int
    weights_port: int
    insecure: bool
    keys_dir: str | None
    credit_rows: int
    heartbeat_s: float
    lease_s: float
    connect_timeout_s: float
    max_header_bytes: int
    max_arrays: int
    max_rank: int
    max_message_bytes: int

    def __post_init__(self) -> None:
        for key in ("experience_port", "weights_port"):
            self.require(1 <= getattr(self, key) <= 65535, key, "in 1 .. 65535")
        self.require(self.experience_port != self.weights_port, "weights_port", "another port")
        self.at_least(1, "credit_rows", "max_header_bytes", "max_arrays", "max_rank", "max_message_bytes")
        self.positive("heartbeat_s", "lease_s", "connect_timeout_s")
        self.require(self.lease_s > 2 * self.heartbeat_s, "lease_s", "over twice heartbeat_s")


class Actor(Section, frozen=True):
    """config/actor.yaml"""

    id: str | None
    index: int
    count: int
    num_envs: int
    processes: int | None
    backend: Literal["physx_cpu", "physx_cuda"]
    device: str
    threads: int
    nice: int
    rows_per_batch: int
    spool: str | None

    def __post_init__(self) -> None:
        self.at_least(0, "index", "nice")
        self.at_least(1, "count", "num_envs", "threads", "rows_per_batch")
        self.require(self.processes is None or self.processes >= 1, "processes", "at least 1, or null")


class Config(Section, frozen=True):
    """config/main.yaml"""

    name: str
    runs_dir: str
    resume: Literal["auto", "new", "must"]
    seed: int
    wire: Wire
    learner: Learner
    actor: Actor
    task: Task
    base: DiffusionSettings | ZeroSettings | LeRobotSettings
    algo: Algo

    def __post_init__(self) -> None:
        if self.base.act_horizon % self.algo.residual_every:
            raise ValueError(
                f"algo.residual_every must divide base.act_horizon={self.base.act_horizon}, "
                f"got {self.algo.residual_every}"
            )
        wanted = simulator_reward(self.algo.reward)
        if self.task.reward_mode != wanted:
            raise ValueError(
                f"task.reward_mode must be {wanted} for algo.reward={self.algo.reward}, "
                f"got {self.task.reward_mode}"
            )

    @property
    def run_dir(self) -> Path:
        """The run's folder."""
        return Path(self.runs_dir) / self.name


def parse_config(raw: DictConfig) -> Config:
    """Check what Hydra composed.

    Raises:
        ConfigError: unknown, missing or unsuitable key, named with its place.
    """
    try:
        plain: Any = OmegaConf.to_container(raw, resolve=True, throw_on_missing=True)
        return msgspec.convert(plain, Config, strict=True)
    except (msgspec.ValidationError, OmegaConfBaseException) as error:
        raise ConfigError(f"configuration: {error}") from error
