"""What every kind of algorithm says to actors, to the loop and to reports."""

from typing import Any

from config.section import Section


class AlgorithmConfig(Section, frozen=True, tag_field="kind"):
    """config/algo, chosen with algo=<file>; `kind` says which class reads the file"""

    name: str
    residual_every: int

    def __post_init__(self) -> None:
        self.at_least(1, "residual_every")

    @property
    def plays(self) -> Any:
        """The residual that actors add to the base, an AlgoConfig; None: they play the base alone."""
        return None

    @property
    def explores(self) -> bool:
        """Whether actors begin at once and act as `Behaviour` says; else they wait for the first weights, and
        each decision is the best that these know."""
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
    def scale(self) -> float:
        """Largest change by the residual; 1 without one."""
        return 1.0

    def describe(self) -> str:
        """The residual in words, which learner and actors compare."""
        return "base alone"
