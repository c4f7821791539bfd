"""Settings of the algorithm: config/algo/, typed and checked."""

from __future__ import annotations

from typing import Any, Literal

from omegaconf import OmegaConf

from config.relation import Relation
from config.section import Section


def simulator_reward(reward: str) -> str:
    """The simulator's reward_mode that `algo.reward` is made from; in YAML `${simulator_reward:<reward>}`."""
    return "sparse" if reward.startswith("sparse") else "normalized_dense"


def relations_of(env_id: str, *, _root_: Any) -> Any:
    """What task.relations has for the task that is played; in YAML `${relations_of:<env_id>}`."""
    return _root_.task.relations.get(env_id, [])


OmegaConf.register_new_resolver("simulator_reward", simulator_reward, replace=True)
OmegaConf.register_new_resolver("relations_of", relations_of, replace=True)


class AlgoConfig(Section, frozen=True):
    """config/algo"""

    name: str
    residual_every: int
    residual_scale: float
    residual_dims: tuple[int, ...] | None
    residual_shape: Literal["chunk", "held"]
    relations: tuple[Relation, ...]
    relation_step: float
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
        self.positive("residual_scale", "relation_step", "utd", "tau", "actor_lr", "critic_lr")
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
