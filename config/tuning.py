"""What algorithms that train the base have in common."""

from config.algorithm import AlgorithmConfig


class TuningConfig(AlgorithmConfig, frozen=True):
    """config/algo, the files of algorithms that train the base"""

    batch_size: int
    lr: float
    warmup_steps: int
    weight_decay: float
    grad_clip: float | None
    ema: float
    publish_every_updates: int

    def __post_init__(self) -> None:
        super().__post_init__()
        self.at_least(1, "batch_size", "publish_every_updates")
        self.at_least(0, "warmup_steps", "weight_decay")
        self.positive("lr")
        self.require(self.grad_clip is None or self.grad_clip > 0, "grad_clip", "above 0, or null")
        self.require(0 <= self.ema < 1, "ema", "in [0, 1)")

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
    rounds: int | None
    prior_fraction: float

    def __post_init__(self) -> None:
        super().__post_init__()
        self.at_least(1, "successes_to_start", "sft_steps")
        self.at_least(0, "min_frames")
        self.require(self.rounds is None or self.rounds >= 1, "rounds", "at least 1, or null")
        self.require(0 <= self.prior_fraction < 1, "prior_fraction", "in [0, 1)")

    @property
    def reads_demos(self) -> bool:
        return self.prior_fraction > 0
