"""Which rows of a ring are decisions in which somebody intervened."""

import numpy as np

from learner.replay.memory.rows import Rows, Slots
from protocol.arrays import Columns


class Intervened:
    """Their positions. Not thread-safe."""

    def __init__(self, rows: Rows) -> None:
        self._rows = rows
        self._positions: Slots = np.zeros(0, np.int64)
        self._linked: Slots = self._positions
        self._linked_at = -1  # the ring's `changes` then

    def add(self, positions: Slots, values: Columns) -> None:
        """Note the decisions at `positions`, with the values of their optional columns."""
        if "intervention" in values:
            new = positions[values["intervention"].any(axis=1)]
            if len(new):
                self._linked_at = -1
                kept = self._positions[np.searchsorted(self._positions, self._rows.oldest) :]
                # Rows that are read back are in any order, and may have been added before.
                is_ascending = (np.diff(np.concatenate([kept[-1:], new])) > 0).all()
                self._positions = np.concatenate([kept, new]) if is_ascending else np.union1d(kept, new)

    @property
    def linked(self) -> Slots:
        """Slots of those that have a successor, oldest first; kept until rows change."""
        rows = self._rows
        if self._linked_at != rows.changes:
            slots = self._positions[np.searchsorted(self._positions, rows.oldest) :] % rows.capacity
            self._linked = slots[rows.following[slots] != rows.unknown]
            self._linked_at = rows.changes
        return self._linked
