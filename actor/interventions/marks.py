"""What a person says of the episode of sub-environment 0."""

from collections.abc import Callable, Mapping

from actor.interventions.contract import Mark

MARKS = {"enter": Mark.SUCCESS, "backspace": Mark.FAILURE, "x": Mark.THROWN_AWAY}
"""By their keys."""
MARK_AFTER_FRAMES = 10
"""Half a second at 20 frames a second: the time that a person needs to see that an episode has ended."""


class Marks:
    """Marks to tell. Those in the first frames of an episode are ignored where another one came before: they
    are meant for that one, which has just ended.

    Args:
        say: shows the person one line.
    """

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say, self._marks = say, dict[int, Mark]()
        self._ignored_frames = 0

    def begin(self) -> None:
        """An episode has ended, the next one begins."""
        self._ignored_frames = MARK_AFTER_FRAMES

    def add(self, mark: Mark) -> None:
        if self._ignored_frames:
            self._say(f"{mark.value} is ignored: this episode has just begun, mark it again if you mean it")
        else:
            self._marks[0] = mark
            self._say(f"this episode: {mark.value}")

    def take(self) -> Mapping[int, Mark]:
        """As `ActionSource.marks`."""
        self._ignored_frames = max(0, self._ignored_frames - 1)
        marks, self._marks = self._marks, {}
        return marks
