"""The keys of this package's base and algorithm. Every process imports this file: nothing slow here."""

from typing import Any

from config.algo import AlgoConfig
from config.base import BaseConfig
from config.task import TaskConfig


class ApproachConfig(BaseConfig, frozen=True, tag="approach"):
    """config/base/approach.yaml"""

    gain: float
    hand: int
    thing: int

    def __post_init__(self) -> None:
        super().__post_init__()
        self.positive("gain")
        self.at_least(0, "hand", "thing")

    def make(self, task: TaskConfig, device: str) -> Any:
        """The base, as `BasePolicy` of actor/policy/contract.py."""
        from residual_rl_example.approach import Approach

        return Approach(self, task)


class DoubtingConfig(AlgoConfig, frozen=True, tag="doubting"):
    """config/algo/doubting.yaml: a recipe of a residual with one more key"""

    doubt: float

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require(0 <= self.doubt <= 1, "doubt", "in [0, 1]")

    def make_training(self, config: Any, base: Any) -> Any:
        """Its parts, as `Training` of learner/algorithms/contract.py."""
        from residual_rl_example.doubting import make

        return make(config, self, base)
