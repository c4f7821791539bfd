"""Configuration of offline training, typed and checked: config/train_base/."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from omegaconf import OmegaConf

from config.compose import CONFIG_DIR, compose_raw, compose_section
from config.section import Section
from config.task import SCALED
from config.tasks import with_env_id
from config.tracking import TrackerName, WandbConfig

# A folder of its own: beside config/task, `task=<id>` would name a group.
_FOLDER = CONFIG_DIR / "train_base"


class BaseEvaluationConfig(Section, frozen=True):
    """evaluation"""

    every: int
    episodes: int
    first_seed: int
    num_envs: int
    max_episode_steps: int | None
    act_horizon: int
    inference_steps: int

    def __post_init__(self) -> None:
        self.at_least(0, "every", "first_seed")
        self.at_least(1, "episodes", "num_envs", "act_horizon", "inference_steps")
        limit = self.max_episode_steps
        self.require(limit is None or limit > 0, "max_episode_steps", "above 0, or null")


class TrainBaseConfig(Section, frozen=True):
    """config/train_base/main.yaml"""

    task: str
    control_mode: str
    demos: str | tuple[str, ...]
    demos_without_success: Literal["refuse", "last_frame"]
    demos_of_other_tasks: Literal["refuse", "accept"]
    max_episodes: int | None
    observation: tuple[str, ...] | None
    out: str
    start_from: str | None
    keep_demos: int
    resume: Literal["auto", "new", "must"]
    obs_horizon: int
    pred_horizon: int
    diffusion_step_embed_dim: int
    unet_dims: tuple[int, ...]
    n_groups: int
    prediction_type: Literal["epsilon", "sample"]
    normalize: bool
    iterations: int
    batch_size: int
    lr: float
    warmup: int
    ema_ceiling: float
    save_every: int
    seed: int
    device: str
    processes: int
    threads: int
    precision: Literal["float32", "bfloat16"]
    compile: bool
    evaluation: BaseEvaluationConfig
    tracking: tuple[TrackerName, ...]
    wandb: WandbConfig

    def __post_init__(self) -> None:
        self.at_least(1, "obs_horizon", "pred_horizon", "diffusion_step_embed_dim", "n_groups", "iterations")
        self.at_least(1, "batch_size", "save_every", "processes", "threads")
        self.at_least(0, "warmup", "seed", "keep_demos")
        most = self.max_episodes
        self.require(most is None or most >= 1, "max_episodes", "at least 1, or null")
        self.filled("task", "demos", "observation", "out", "start_from", "device")
        widths_fit = all(width >= 1 and width % self.n_groups == 0 for width in self.unet_dims)
        rule = f"one width or more, each a multiple of n_groups={self.n_groups}"
        self.require(widths_fit and len(self.unet_dims) > 0, "unet_dims", rule)
        self.positive("lr")
        self.require(0 < self.ema_ceiling < 1, "ema_ceiling", "in (0, 1)")
        bounded = "delta" in self.control_mode or self.control_mode == SCALED
        self.require(bounded, "control_mode", f"a delta mode, or {SCALED} for gymnasium's tasks")
        widest = self.pred_horizon - self.obs_horizon + 1
        self.require(widest >= 1, "pred_horizon", "at least obs_horizon")
        if self.evaluation.act_horizon > widest:
            raise ValueError(
                f"evaluation.act_horizon must be at most {widest} with pred_horizon={self.pred_horizon}, "
                f"obs_horizon={self.obs_horizon}, got {self.evaluation.act_horizon}"
            )

    @property
    def sources(self) -> tuple[str, ...]:
        """Where demonstrations come from, one after the other."""
        return (self.demos,) if isinstance(self.demos, str) else self.demos

    @property
    def folder(self) -> Path:
        """Where checkpoints go."""
        return Path(self.out)


def compose_training(overrides: Sequence[str]) -> TrainBaseConfig:
    """config/train_base/main.yaml with Hydra overrides, checked.
    Raises ConfigError: in one line, naming the key."""
    return compose_section(_FOLDER, with_env_id(overrides), TrainBaseConfig)


def training_defaults() -> str:
    """Every key and its default, as YAML."""
    return OmegaConf.to_yaml(compose_raw(_FOLDER))
