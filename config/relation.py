"""One of task.relations and algo.relations: which place in an observation is seen from which other."""

from collections.abc import Callable
from typing import Literal

from config.section import Section

POSITION, POSE = 3, 7
"""Dimensions of x, y, z, and of these with a quaternion."""

AXIS = "axis"
"""The word for a relation of directions, in place of a tip."""


class Relation(Section, frozen=True):
    """One relation. Its fields are indices into the observation, counted from 0. In YAML they may be names
    instead, which `config.layout` replaces.

    Attributes:
        point: index of the x of the thing that is seen; y and z follow, and with `tip` its quaternion.
        tip: index of a length in metres. What is seen is the place this far ahead of the point, along the
            thing's own x axis: the end of something long. None: the point itself. "axis": no place, but the
            direction of that axis; of `origin` only its quaternion counts, and only with `turned`.
        origin: index of the x of the place from which it is seen; y and z follow, with `turned` a quaternion.
        turned: the relation is in the axes of that quaternion; else in the axes of the observation.
    """

    point: int
    tip: int | Literal["axis"] | None
    origin: int
    turned: bool

    def __post_init__(self) -> None:
        self.at_least(0, "point", "origin")
        fits = self.tip is None or self.tip == AXIS or self.tip >= 0
        self.require(fits, "tip", "at least 0, axis or null")

    @property
    def last(self) -> int:
        """The highest index that it reads."""
        point = self.point + (POSITION if self.tip is None else POSE)
        origin = self.origin + (POSE if self.turned else POSITION)
        return max(point - 1, origin - 1, self.tip if isinstance(self.tip, int) else -1)

    @property
    def text(self) -> str:
        """With indices, for learner and actors to compare."""
        return self.described(str)

    def described(self, name: Callable[[int], str]) -> str:
        """For people; `name` says what an index is called."""
        tip = f" + {name(self.tip)} ahead" if isinstance(self.tip, int) else ""
        kind = "axis of " if self.tip == AXIS else ""
        turned = " turned" if self.turned else ""
        return f"{kind}{name(self.point)}{tip} from {name(self.origin)}{turned}"
