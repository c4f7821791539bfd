"""Settings of algorithms that learn from what their newest policy did: ppo and grpo."""

from typing import Any, Literal

from omegaconf import OmegaConf

from config.residual import ResidualConfig


def with_base(otherwise: Any, setting: Any, *, _root_: Any) -> Any:
    """`setting`, or `otherwise` where there is no base that could act; in YAML
    `${with_base:<otherwise>,<setting>}`."""
    return otherwise if _root_.base.type == "zero" else setting


OmegaConf.register_new_resolver("with_base", with_base, replace=True)


class OnPolicyConfig(ResidualConfig, frozen=True):
    """config/algo, the files of algorithms that learn from what their newest policy did"""

    initial_std: float
    gamma: float
    epochs: int
    minibatch_size: int
    clip: float
    lr: float
    entropy_weight: float
    stop_at_kl: float | None
    grad_clip: float | None
    max_version_lag: int

    def __post_init__(self) -> None:
        super().__post_init__()
        self.at_least(1, "epochs", "minibatch_size")
        self.at_least(0, "entropy_weight")
        self.positive("initial_std", "lr")
        self.require(0 < self.gamma <= 1, "gamma", "in (0, 1]")
        self.require(0 < self.clip < 1, "clip", "in (0, 1)")
        self.require(not {"features", "pictures"} & {*self.sees}, "sees", "of state and proprioception")
        self.require(self.max_version_lag in (0, 1), "max_version_lag", "0 or 1")
        for key in ("stop_at_kl", "grad_clip"):
            value = getattr(self, key)
            self.require(value is None or value > 0, key, "above 0, or null")

    @property
    def output(self) -> Literal["normal"]:
        return "normal"

    @property
    def decides(self) -> Literal["sampling"]:
        return "sampling"

    @property
    def reads_any_reward(self) -> bool:
        return True

    @property
    def batch_units(self) -> int:
        """Decisions or episodes, see `rounds_of`, that a batch has."""
        raise NotImplementedError


class PpoConfig(OnPolicyConfig, frozen=True, tag="ppo"):
    """config/algo/ppo.yaml"""

    batch_decisions: int
    trace: float
    value_clip: float | None
    value_weight: float

    def __post_init__(self) -> None:
        super().__post_init__()
        rule = f"at least algo.minibatch_size={self.minibatch_size}"
        self.require(self.batch_decisions >= self.minibatch_size, "batch_decisions", rule)
        self.require(0 <= self.trace <= 1, "trace", "in [0, 1]")
        self.require(self.value_clip is None or self.value_clip > 0, "value_clip", "above 0, or null")
        self.positive("value_weight")

    @property
    def rounds_of(self) -> Literal["decisions"]:
        return "decisions"

    @property
    def batch_units(self) -> int:
        return self.batch_decisions


class GrpoConfig(OnPolicyConfig, frozen=True, tag="grpo"):
    """config/algo/grpo.yaml"""

    group_size: int
    batch_groups: int
    reference_weight: float

    def __post_init__(self) -> None:
        super().__post_init__()
        self.at_least(2, "group_size")
        self.at_least(1, "batch_groups")
        self.at_least(0, "reference_weight")

    @property
    def rounds_of(self) -> Literal["episodes"]:
        return "episodes"

    @property
    def batch_units(self) -> int:
        return self.batch_groups * self.group_size
