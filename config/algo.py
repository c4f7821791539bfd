"""Settings of a residual's algorithm: the recipes in config/algo/, typed and checked."""

from typing import Any, Literal

from omegaconf import OmegaConf

from config.pictures import PicturesConfig
from config.residual import ResidualConfig


def relations_of(env_id: str, *, _root_: Any) -> Any:
    """What task.relations has for the task that is played; in YAML `${relations_of:<env_id>}`."""
    return _root_.task.relations.get(env_id, [])


OmegaConf.register_new_resolver("relations_of", relations_of, replace=True)


def proprioception_of(env_id: str, *, _root_: Any) -> Any:
    """The same of task.proprioception; in YAML `${proprioception_of:<env_id>}`."""
    return _root_.task.proprioception.get(env_id, [])


OmegaConf.register_new_resolver("proprioception_of", proprioception_of, replace=True)


class AlgoConfig(ResidualConfig, frozen=True, tag="residual"):
    """config/algo, the recipes of a residual"""

    critics_see: tuple[str, ...]
    pictures: PicturesConfig
    mask_by: Literal["decisions", "success"]
    mask_horizon: int
    gate_share: float
    gate_margin: float
    learning_starts: int
    uniform_until_learning: bool
    noise_std: float
    noise_ladder: bool
    noise_probability: float
    noise_decisions: int
    residual_penalty: float
    scale_observations: Literal["off", "prior"]
    head: Literal["deterministic", "gaussian"]
    critic_input: Literal["sum", "concat", "residual"]
    critic_layer_norm: bool
    critics: int
    gamma: float
    n_step: int
    reward: Literal["sparse", "sparse_minus_one"]
    target_clip: tuple[float, float] | Literal["reachable"] | None
    clip_action: bool
    target_noise_std: float
    target_noise_clip: float
    observation_noise: float
    batch_size: int
    prior_fraction: float
    intervention_fraction: float
    utd: float
    actor_lr: float
    critic_lr: float
    actor_pessimism: float | None
    actor_delay: int
    critic_warmup_updates: int
    grad_clip: float | None
    initial_temperature: float
    learn_temperature: bool
    entropy_in_target: bool

    def __post_init__(self) -> None:
        super().__post_init__()
        self.at_least(1, "noise_decisions", "critics", "n_step", "batch_size")
        self.at_least(1, "actor_delay")
        self.at_least(0, "mask_horizon", "learning_starts", "noise_std", "critic_warmup_updates")
        self.at_least(0, "target_noise_std", "target_noise_clip", "observation_noise", "initial_temperature")
        self.require(0 < self.gate_share <= 1, "gate_share", "in (0, 1]")
        self.require(0 <= self.gate_margin <= 1, "gate_margin", "in [0, 1]")
        self.require(0 <= self.noise_probability <= 1, "noise_probability", "in [0, 1]")
        self.positive("utd", "actor_lr", "critic_lr")
        self.require(0 < self.gamma <= 1, "gamma", "in (0, 1]")
        self.require(0 <= self.prior_fraction < 1, "prior_fraction", "in [0, 1)")
        rest = 1 - self.prior_fraction
        self.require(
            0 <= self.intervention_fraction < rest, "intervention_fraction", "in [0, 1 - prior_fraction)"
        )
        self.at_least(0, "residual_penalty")
        self.require(self.grad_clip is None or self.grad_clip > 0, "grad_clip", "above 0, or null")
        # An infinite end does not clip.
        ends_fit = not isinstance(self.target_clip, tuple) or self.target_clip[0] < self.target_clip[1]
        self.require(ends_fit, "target_clip", "[low, high] with low below high, reachable or null")
        self.require_seen("critics_see")
        if ("pictures" in self.sees) != ("pictures" in self.critics_see):
            raise ValueError(
                "algo.sees and algo.critics_see must name pictures both or neither: critics train what the "
                "actor sees of them (algo.critics_see=[state,pictures])"
            )
        if self.looks_at and not self.pictures.cameras:
            raise ValueError(
                "algo.sees names pictures, and algo.pictures.cameras names no camera: set "
                "task.cameras=[base_camera]"
            )

    @property
    def output(self) -> Literal["deterministic", "gaussian"]:
        return self.head

    @property
    def decides(self) -> Literal["exploring", "steering"]:
        return "exploring"

    @property
    def needs_features(self) -> bool:
        return super().needs_features or "features" in self.critics_see

    @property
    def looks_at(self) -> PicturesConfig | None:
        return self.pictures if "pictures" in self.critics_see else None

    @property
    def reads_demos(self) -> bool:
        return self.prior_fraction > 0

    @property
    def target_range(self) -> tuple[float, float] | None:
        """The range that the critics' targets are clipped to; None: they are not clipped.

        "reachable" is the range of returns that any policy can have: success ends the episode.
        """
        if self.target_clip != "reachable":
            return self.target_clip
        if self.reward == "sparse":
            return 0.0, 1.0
        return -float("inf") if self.gamma == 1 else -1 / (1 - self.gamma), 0.0
