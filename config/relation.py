"""One of task.relations and algo.relations: which place in an observation is seen from which other."""

from config.section import Section

_POSITION, _POSE = 3, 7


class Relation(Section, frozen=True):
    """Numbers of the observation, counted from 0.

    Attributes:
        point: where the x, y and z of what is seen begin; with `tip` its quaternion follows them.
        tip: the number that says how many metres ahead of the point, along its own x axis, the place lies
            that matters: the end of something long. None: the point itself.
        origin: where the x, y and z begin from which it is seen; with `turned` a quaternion follows them.
        turned: in the axes of that quaternion; else in those in which both are given.
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
        """The highest number that it reads."""
        point = self.point + (_POSITION if self.tip is None else _POSE)
        origin = self.origin + (_POSE if self.turned else _POSITION)
        return max(point - 1, origin - 1, -1 if self.tip is None else self.tip)

    @property
    def text(self) -> str:
        """For people, and for learner and actors to compare."""
        tip = "" if self.tip is None else f" + {self.tip} ahead"
        return f"{self.point}{tip} from {self.origin}{' turned' if self.turned else ''}"
