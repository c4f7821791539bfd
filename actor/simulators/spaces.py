"""Observations as one row, and actions in [-1, 1], of simulators that have others of their own."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from actor.simulators.contract import UnplayableError

Path = tuple[str, ...]
"""Names that lead to a part of an observation; empty: it has no parts."""
Array = NDArray[Any]


class StateRow:
    """The numbers of an observation, part by part in the order of its space, as one float32 row.

    Pictures are no state: `pictures` has their places.

    Raises UnplayableError: a part that is neither numbers nor a picture.
    """

    def __init__(self, space: spaces.Space, env_id: str) -> None:
        parts = dict(_parts(space, env_id))
        self.pictures: dict[Path, spaces.Box] = {at: box for at, box in parts.items() if is_picture(box)}
        self.parts = {at: box for at, box in parts.items() if at not in self.pictures}
        self.layout = {
            ".".join(at) or "observation": int(np.prod(box.shape)) for at, box in self.parts.items()
        }
        self.dimension = sum(self.layout.values())

    def of(self, observation: Any) -> Array:
        """(dimension,) float32."""
        if not self.parts:
            return np.zeros(0, np.float32)
        return np.concatenate([part_at(observation, at).ravel() for at in self.parts], dtype=np.float32)


def _parts(space: spaces.Space, env_id: str, at: Path = ()) -> Iterator[tuple[Path, spaces.Box]]:
    if isinstance(space, spaces.Dict):
        for name, part in space.items():
            yield from _parts(part, env_id, (*at, str(name)))
    elif isinstance(space, spaces.Box):
        yield at, space
    else:
        where = f" in {'/'.join(at)}" if at else ""
        raise UnplayableError(
            f"task.env_id={env_id} has an observation of the kind {type(space).__name__}{where}, "
            "policies see numbers: choose a task with a Box, or a Dict of them, or wrap it"
        )


def is_picture(space: spaces.Box) -> bool:
    """Whether a part is what a camera shows."""
    return space.dtype == np.uint8 and len(space.shape) in (2, 3)


def part_at(observation: Any, at: Path) -> Array:
    """The part of an observation at a place."""
    for name in at:
        assert isinstance(observation, Mapping)
        observation = observation[name]
    return np.asarray(observation)


class ActionScale:
    """Between the actions of a bounded Box and rows in [-1, 1].

    Raises UnplayableError: actions of another kind, or without bounds.
    """

    def __init__(self, space: spaces.Space, env_id: str) -> None:
        if not isinstance(space, spaces.Box) or not np.issubdtype(space.dtype, np.floating):
            kind = type(space).__name__ if not isinstance(space, spaces.Box) else f"Box of {space.dtype}"
            raise UnplayableError(
                f"task.env_id={env_id} has actions of the kind {kind}, bases plan numbers: choose a task "
                "whose actions are a Box of floats"
            )
        low, high = (np.asarray(bound, np.float64).ravel() for bound in (space.low, space.high))
        wrong = np.flatnonzero(~(np.isfinite(low) & np.isfinite(high) & (low < high)))
        if len(wrong):
            i = wrong[0]
            raise UnplayableError(
                f"task.env_id={env_id} has an unbounded action space: dimension {i} is in "
                f"[{low[i]}, {high[i]}]: wrap the task in a gymnasium.ActionWrapper with bounds"
            )
        self.dimension = len(low)
        self._space, self._middle, self._half = space, (high + low) / 2, (high - low) / 2

    def own(self, action: Array) -> Array:
        """The task's own action for a row in [-1, 1], (dimension,); what lies outside is clipped."""
        scaled = np.clip(action, -1, 1) * self._half + self._middle
        own = scaled.astype(self._space.dtype).reshape(self._space.shape)
        # Rounding may leave the bounds by a digit.
        return np.clip(own, self._space.low, self._space.high)
