"""Settings of algo=collect: config/algo/collect.yaml, typed and checked."""

from typing import Literal

from config.algo import AlgoConfig
from config.algorithm import AlgorithmConfig
from config.on_policy import GrpoConfig, PpoConfig
from config.reach import Scale

PlayedResidual = AlgoConfig | PpoConfig | GrpoConfig


class CollectConfig(AlgorithmConfig, frozen=True, tag="collect"):
    """config/algo/collect.yaml"""

    from_run: str | None
    checkpoint: str
    residual: PlayedResidual | None
    episodes: int | None
    successes: int | None
    keep: Literal["all", "successes"]

    def __post_init__(self) -> None:
        super().__post_init__()
        self.filled("from_run", "checkpoint")
        for key in ("episodes", "successes"):
            value = getattr(self, key)
            self.require(value is None or value >= 1, key, "at least 1, or null")
        if self.episodes is None and self.successes is None:
            raise ValueError("algo=collect must know when to end: give algo.episodes=N or algo.successes=N")

    @property
    def plays(self) -> PlayedResidual | None:
        """The residual that actors add to the base; None: they play the base alone."""
        return self.residual

    @property
    def scale(self) -> Scale:
        return super().scale if self.residual is None else self.residual.scale

    def describe(self) -> str:
        return super().describe() if self.residual is None else self.residual.describe()

    @property
    def is_evaluated(self) -> bool:
        return False
