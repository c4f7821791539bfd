"""Typed, checked configuration. Defaults live in the YAML files beside this one, none here."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import msgspec
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException


class ConfigError(ValueError):
    """A configuration that cannot be used; the message names the key."""


def simulator_reward(reward: str) -> str:
    """The simulator's reward_mode that `algo.reward` is made from; in YAML `${simulator_reward:<reward>}`."""
    return "sparse" if reward.startswith("sparse") else "normalized_dense"


OmegaConf.register_new_resolver("simulator_reward", simulator_reward, replace=True)


class Section(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A part of the configuration: an unknown or missing key is an error that names it."""

    def require(self, holds: bool, key: str, rule: str) -> None:
        """Raise ValueError `key must be rule, got value` unless `holds`."""
        if not holds:
            raise ValueError(f"{key} must be {rule}, got {getattr(self, key)!r}")

    def at_least(self, smallest: float, *keys: str) -> None:
        """Raise ValueError for the first of `keys` below `smallest`."""
        for key in keys:
            self.require(getattr(self, key) >= smallest, key, f"at least {smallest}")

    def positive(self, *keys: str) -> None:
        """Raise ValueError for the first of `keys` that is not above zero."""
        for key in keys:
            self.require(getattr(self, key) > 0, key, "above 0")


class Task(Section, frozen=True):
    """config/task"""

    name: str
    env_id: str
    control_mode: str
    obs_mode: Literal["state"]
    cameras: tuple[str, ...]
    camera_size: tuple[int, int]
    residual_dims: tuple[int, ...] | None
    max_episode_steps: int
    reward_mode: Literal["sparse", "normalized_dense"]
    reconfigure: bool

    def __post_init__(self) -> None:
        self.at_least(1, "max_episode_steps")
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


class Wandb(Section, frozen=True):
    """learner.wandb"""

    mode: Literal["offline", "online", "disabled"]
    project: str


class Evaluation(Section, frozen=True):
    """learner.evaluation"""

    episodes: int
    first_seed: int
    every_s: float
    interim_episodes: int
    num_envs: int
    nice: int
    final_timeout_s: float
    residual: str | None

    def __post_init__(self) -> None:
        self.at_least(1, "episodes", "interim_episodes", "num_envs")
        self.at_least(0, "first_seed", "nice")
        self.positive("every_s", "final_timeout_s")


class JournalSettings(Section, frozen=True):
    """learner.journal"""

    sync_s: float
    sync_bytes: int
    segment_bytes: int
    spare_segments: int
    pending_bytes: int

    def __post_init__(self) -> None:
        self.positive("sync_s")
        self.at_least(0, "spare_segments")
        self.at_least(1, "sync_bytes", "segment_bytes", "pending_bytes")


class Learner(Section, frozen=True):
    """config/learner.yaml"""

    total_frames: int
    device: str
    threads: int
    replay_capacity: int
    replay_device: str
    publish_every_s: float
    checkpoint_every_s: float
    log_every_s: float
    wait_log_every_s: float
    stall_timeout_s: float
    max_updates_behind: int
    demos: str | tuple[str, ...] | None
    robot_type: str
    fps: int
    record_images: Literal["video", "image"] | None
    replay_images: bool
    store_queue_episodes: int
    store_flush_s: float
    journal: JournalSettings
    robot_state_dim: int | None
    replay_max_gb: float | None
    replay_max_frames: int | None
    wandb: Wandb
    evaluation: Evaluation

    def __post_init__(self) -> None:
        self.at_least(1, "total_frames", "threads", "replay_capacity", "fps", "store_queue_episodes")
        self.positive(
            "publish_every_s",
            "checkpoint_every_s",
            "log_every_s",
            "wait_log_every_s",
            "stall_timeout_s",
            "store_flush_s",
        )
        for key in ("replay_max_gb", "replay_max_frames", "robot_state_dim"):
            value = getattr(self, key)
            self.require(value is None or value > 0, key, "above 0, or null")


class Algo(Section, frozen=True):
    """config/algo"""

    name: str
    residual_every: int
    residual_scale: float
    residual_dims: tuple[int, ...] | None
    residual_shape: Literal["chunk", "held"]
    mask_by: Literal["decisions", "success"]
    mask_horizon: int
    gate_share: float
    gate_episodes: int
    gate_margin: float
    confidence_from: float
    confidence_least: float
    scale_from: float
    scale_horizon: int
    learning_starts: int
    uniform_until_learning: bool
    noise_std: float
    noise_ladder: bool
    noise_probability: float
    noise_hold: int
    residual_penalty: float
    scale_observations: Literal["off", "prior", "running"]
    head: Literal["deterministic", "gaussian"]
    actor_input: Literal["obs", "obs_base_action"]
    critic_input: Literal["sum", "res", "concat", "linear"]
    hidden: tuple[int, ...]
    actor_layer_norm: bool
    critic_layer_norm: bool
    last_layer_gain: float
    log_std_min: float
    critics: int
    target_critics: int
    gamma: float
    n_step: int
    reward: Literal["sparse", "sparse_minus_one", "normalized_dense", "dense_minus_one"]
    reward_scale: float
    target_clip: tuple[float, float] | Literal["reachable"] | None
    clip_action: bool
    target_noise_std: float
    target_noise_clip: float
    observation_noise: float
    batch_size: int
    prior_fraction: float
    priority_exponent: float
    priority_correction: float
    utd: float
    tau: float
    actor_lr: float
    critic_lr: float
    actor_update: Literal["gradient", "advantage"]
    advantage_sharpness: float
    actor_pessimism: float | None
    pessimism_about: Literal["value", "advantage"]
    actor_delay: int
    critic_warmup_updates: int
    grad_clip: float | None
    initial_temperature: float
    learn_temperature: bool
    target_entropy: float | None
    entropy_in_target: bool

    def __post_init__(self) -> None:
        self.at_least(1, "residual_every", "critics", "target_critics", "n_step", "batch_size", "actor_delay")
        self.at_least(
            0, "mask_horizon", "scale_horizon", "learning_starts", "noise_std", "critic_warmup_updates"
        )
        self.at_least(0, "target_noise_std", "target_noise_clip", "observation_noise", "initial_temperature")
        self.at_least(1, "noise_hold", "gate_episodes")
        self.require(0 < self.gate_share <= 1, "gate_share", "in (0, 1]")
        self.require(0 <= self.gate_margin <= 1, "gate_margin", "in [0, 1]")
        self.require(0 < self.scale_from <= 1, "scale_from", "in (0, 1]")
        self.require(0 < self.confidence_from <= 1, "confidence_from", "in (0, 1]")
        self.require(
            0 < self.confidence_least <= self.confidence_from, "confidence_least", "in (0, confidence_from]"
        )
        self.require(0 <= self.noise_probability <= 1, "noise_probability", "in [0, 1]")
        self.positive("residual_scale", "utd", "tau", "actor_lr", "critic_lr")
        self.require(self.target_critics <= self.critics, "target_critics", "at most critics")
        self.positive("reward_scale")
        self.require(0 < self.gamma <= 1, "gamma", "in (0, 1]")
        self.require(0 <= self.prior_fraction < 1, "prior_fraction", "in [0, 1)")
        self.at_least(0, "priority_exponent")
        self.require(0 <= self.priority_correction <= 1, "priority_correction", "in [0, 1]")
        self.require(len(self.hidden) > 0, "hidden", "one width or more")

    @property
    def target_range(self) -> tuple[float, float] | None:
        """Between which values the critics' targets are clipped, None: not at all.

        "reachable" is what any policy can earn: a success ends the episode, and each frame of a
        dense reward is worth at most 1.
        """
        if self.target_clip != "reachable":
            return self.target_clip
        for_ever = self.reward_scale * (float("inf") if self.gamma == 1 else 1 / (1 - self.gamma))
        match self.reward:
            case "sparse":
                return 0.0, self.reward_scale
            case "sparse_minus_one":
                return -for_ever, 0.0
            case "normalized_dense":
                return 0.0, self.residual_every * for_ever
            case "dense_minus_one":
                return -self.residual_every * for_ever, 0.0


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
