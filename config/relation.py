"""One of task.relations and algo.relations: which place in an observation is seen from which other."""

from collections.abc import Callable

from config.section import Section

POSITION, POSE = 3, 7
"""Dimensions of x, y, z, and of these with a quaternion."""


class Relation(Section, frozen=True):
    """One relation. Its fields are indices into the observation, counted from 0. In YAML they may be names
    instead, which `config.layout` replaces.

    Attributes:
        point: index of the x of the thing that is seen; y and z follow, and with `tip` its quaternion.
        tip: index of a length in metres. What is seen is the place this far ahead of the point, along the
            thing's own x axis: the end of something long. None: the point itself.
        origin: index of the x of the place from which it is seen; y and z follow, with `turned` a quaternion.
        turned: the relation is in the axes of that quaternion; else in the axes of the observation.
    """

    point: int
    tip: int | None
    origin: int
    turned: bool

    def __post_init__(self) -> None:
        self.at_least(0, "point", "origin")
        self.require(self.tip is None or self.tip >= 0, "tip", "at least 0, or null")

    @property
    def last(self) -> int:
        """The highest index that it reads."""
        point = self.point + (POSITION if self.tip is None else POSE)
        origin = self.origin + (POSE if self.turned else POSITION)
        return max(point - 1, origin - 1, -1 if self.tip is None else self.tip)

    @property
    def text(self) -> str:
        """With indices, for learner and actors to compare."""
        return self.described(str)

    def described(self, name: Callable[[int], str]) -> str:
        """For people; `name` says what an index is called."""
        tip = "" if self.tip is None else f" + {name(self.tip)} ahead"
        return f"{name(self.point)}{tip} from {name(self.origin)}{' turned' if self.turned else ''}"
