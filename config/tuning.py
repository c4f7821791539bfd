"""What algorithms that train the base have in common."""

from typing import Literal

from config.algorithm import AlgorithmConfig
from config.reach import Scale


class TuningConfig(AlgorithmConfig, frozen=True):
    """config/algo, the files of algorithms that train the base"""

    batch_size: int
    lr: float | None
    warmup_steps: int
    ema: float
    publish_every_updates: int

    def __post_init__(self) -> None:
        super().__post_init__()
        self.at_least(1, "batch_size", "publish_every_updates")
        self.at_least(0, "warmup_steps")
        self.require(self.lr is None or self.lr > 0, "lr", "above 0, or null")
        self.require(0 <= self.ema < 1, "ema", "in [0, 1)")

    @property
    def plays(self) -> None:
        """Actors play the base alone."""
        return None

    @property
    def trains_base(self) -> bool:
        return True


class SftConfig(TuningConfig, frozen=True, tag="sft"):
    """config/algo/sft.yaml"""

    steps: int

    def __post_init__(self) -> None:
        super().__post_init__()
        self.at_least(1, "steps")

    @property
    def reads_demos(self) -> bool:
        return True


class RejectionConfig(TuningConfig, frozen=True, tag="rejection_sampling"):
    """config/algo/rejection_sampling.yaml"""

    min_frames: int
    successes_to_start: int
    sft_steps: int
    rounds: int
    prior_fraction: float
    residual_scale: Scale
    residual_dims: tuple[int, ...] | None
    noise_std: float
    noise_probability: float
    noise_decisions: int

    def __post_init__(self) -> None:
        super().__post_init__()
        self.at_least(1, "successes_to_start", "sft_steps", "rounds", "noise_decisions")
        self.at_least(0, "min_frames", "noise_std")
        self.require(0 <= self.prior_fraction < 1, "prior_fraction", "in [0, 1)")
        self.positive("residual_scale")
        self.require(0 <= self.noise_probability <= 1, "noise_probability", "in [0, 1]")
        self.require_dims("residual_dims")

    @property
    def reads_demos(self) -> bool:
        return self.prior_fraction > 0

    @property
    def decides(self) -> Literal["exploring", "best"]:
        return "exploring" if self.noise_std else "best"

    @property
    def pushed_dims(self) -> tuple[int, ...] | None:
        return self.residual_dims if self.noise_std else ()

    @property
    def scale(self) -> Scale:
        return self.residual_scale

    def describe(self) -> str:
        dims = "all" if self.residual_dims is None else list(self.residual_dims)
        return f"base alone, noise on dims {dims}" if self.noise_std else super().describe()
