"""Settings of algo=dsrl: config/algo/dsrl.yaml, typed and checked."""

from typing import Literal

from config.algo import AlgoConfig


class SteeringConfig(AlgoConfig, frozen=True, tag="steering"):
    """config/algo/dsrl.yaml"""

    def __post_init__(self) -> None:
        super().__post_init__()
        # The network chooses before there is a plan, and what it chooses is no change of one.
        self.require(self.actor_input == "obs", "actor_input", "obs for kind=steering")
        self.require(self.critic_input == "residual", "critic_input", "residual for kind=steering")
        self.require(not self.clip_action, "clip_action", "false for kind=steering")
        self.require(self.residual_dims is None, "residual_dims", "null for kind=steering")
        # The base's own noise comes before learning.
        self.require(not self.uniform_until_learning, "uniform_until_learning", "false for kind=steering")
        # Nobody knows the noise of a demonstration.
        self.require(self.prior_fraction == 0, "prior_fraction", "0 for kind=steering")
        # Where the network is masked, a row has the base's noise: no zero says that the base was alone.
        self.require(self.mask_by == "decisions", "mask_by", "decisions for kind=steering")

    @property
    def steers(self) -> bool:
        return True

    @property
    def decides(self) -> Literal["steering"]:
        return "steering"

    def describe(self) -> str:
        return f"noise of the base {super().describe()}"
