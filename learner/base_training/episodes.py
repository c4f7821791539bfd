"""Episodes as windows: the frames of an episode that a policy learns from together. A set that may grow."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from learner.replay.dataset.arrow import Array

# Frames that an empty set has room for.
_LEAST_ROOM = 1024


@dataclass(frozen=True)
class WindowShape:
    """Which frames make up a window, counted from the frame that it belongs to."""

    observation: tuple[int, ...]
    action: tuple[int, ...]
    leave_out: int
    """Last frames of an episode that have no window."""
    stands_still: bool
    """How actions go on past the end: the arm stands still (zero delta action) and the gripper keeps its last
    action, as the published trainer pads; else the last action is repeated, as LeRobot pads."""


class WindowArrays(NamedTuple):
    """B windows."""

    history: Array
    """f4 (B, len(shape.observation), O); before the episode its first observation, past it the last."""
    actions: Array
    """f4 (B, len(shape.action), A); before the episode its first action."""
    padded: Array
    """b1 (B, len(shape.action)): which actions lie outside the episode."""


class EpisodeSet:
    """Frames in arrays that double when they are full."""

    def __init__(self, shape: WindowShape, observation_dim: int, action_dim: int) -> None:
        self.shape = shape
        self._observation_offsets = np.array(shape.observation)
        self._action_offsets = np.array(shape.action)
        self._observations = _Growing(np.float32, observation_dim)
        self._actions = _Growing(np.float32, action_dim)
        self._bounds = _Growing(np.int64, 2)  # first frame and end of each episode
        self._windows = _Growing(np.int64, 2)  # frame and episode of each window

    def __len__(self) -> int:
        """Windows."""
        return len(self._windows)

    @property
    def episodes(self) -> int:
        return len(self._bounds)

    @property
    def frames(self) -> int:
        return len(self._actions)

    def add(self, observations: Array, actions: Array, *, is_whole: bool = True) -> int:
        """Add an episode of T actions (T, A), with T observations or more; returns how many windows it has.
        `is_whole`: false for a part of one, whose windows never reach past its end."""
        length, first = len(actions), len(self._actions)
        reach = 0 if is_whole else max(0, *self.shape.action)
        count = max(0, length - max(self.shape.leave_out, reach))
        frames = np.arange(first, first + count)
        self._windows.add(np.stack([frames, np.full(count, self.episodes)], axis=1))
        self._bounds.add(np.array([[first, first + length]]))
        self._observations.add(observations[:length])
        self._actions.add(actions)
        return count

    def windows(self, rows: Array) -> WindowArrays:
        """Those with the numbers `rows` (B,)."""
        frames, episodes = self._windows.values[rows].T
        first, end = self._bounds.values[episodes].T[..., None]
        observed = (frames[:, None] + self._observation_offsets).clip(first, end - 1)
        acted = frames[:, None] + self._action_offsets
        actions = self._actions.values[acted.clip(first, end - 1)]
        if self.shape.stands_still:
            actions[acted >= end, :-1] = 0
        return WindowArrays(self._observations.values[observed], actions, (acted < first) | (acted >= end))

    def place(self, window: int) -> tuple[int, int]:
        """Number of the window's episode, and the frame in it that the window belongs to."""
        frame, episode = self._windows.values[window].tolist()
        return episode, frame - int(self._bounds.values[episode, 0])


class _Growing:
    """Rows, to which more are added at the cost of a copy."""

    def __init__(self, dtype: type, width: int) -> None:
        self._room = np.zeros((_LEAST_ROOM, width), dtype)
        self._length = 0

    def __len__(self) -> int:
        return self._length

    @property
    def values(self) -> Array:
        """A view of all rows."""
        return self._room[: self._length]

    def add(self, rows: Array) -> None:
        needed = self._length + len(rows)
        if needed > len(self._room):
            grown = np.zeros((max(needed, 2 * len(self._room)), self._room.shape[1]), self._room.dtype)
            grown[: self._length] = self.values
            self._room = grown
        self._room[self._length : needed] = rows
        self._length = needed
