"""What every kind of algorithm says to actors, to the loop and to reports."""

from typing import Any, Literal

from config.reach import Scale
from config.section import Section


class AlgorithmConfig(Section, frozen=True, tag_field="kind"):
    """config/algo, chosen with algo=<file>; `kind` says which class reads the file"""

    name: str
    residual_every: int

    def __post_init__(self) -> None:
        self.at_least(1, "residual_every")

    def require_dims(self, key: str) -> None:
        """Raise ValueError unless `key` has action dimensions, or is None for all of them."""
        dims = getattr(self, key)
        fit = dims is None or (len(set(dims)) == len(dims) > 0 and min(dims) >= 0)
        self.require(fit, key, "different dimensions of 0 or more, or null")

    @property
    def plays(self) -> Any:
        """The residual that actors add to the base, a ResidualConfig; None: they play the base alone."""
        return None

    @property
    def decides(self) -> Literal["exploring", "steering", "sampling", "best"]:
        """How actors decide: exploring, as `Behaviour` says, from the start; steering, the same with noise
        that the base starts from; sampling, from the distribution that the first weights bring; or with the
        best decision that the first weights know."""
        return "best"

    @property
    def rounds_of(self) -> Literal["decisions", "episodes"] | None:
        """Of what actors play rounds, after which they wait for newer weights, where the learner can use
        nothing of older ones; None: they never wait."""
        return None

    @property
    def reads_any_reward(self) -> bool:
        """Whether it learns from other rewards than that of a success."""
        return False

    @property
    def reads_demos(self) -> bool:
        """Whether it learns from `learner.demos`."""
        return False

    @property
    def trains_base(self) -> bool:
        """Whether it publishes weights of the base."""
        return False

    @property
    def is_evaluated(self) -> bool:
        """Whether what it publishes is evaluated while it goes on, and at its end."""
        return True

    @property
    def pushed_dims(self) -> tuple[int, ...] | None:
        """Action dimensions to which actors add noise although they play the base alone; None: all."""
        return ()

    @property
    def scale(self) -> Scale:
        """Largest change by the residual, or by noise in place of one; 1 without them."""
        return 1.0

    def describe(self) -> str:
        """The residual in words, which learner and actors compare."""
        return "base alone"
