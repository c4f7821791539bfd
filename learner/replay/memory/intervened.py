"""Which rows of a ring are decisions in which somebody intervened."""

import numpy as np

from learner.replay.memory.rows import Rows, Slots
from protocol.arrays import Columns


class Intervened:
    """Their positions. Not thread-safe."""

    def __init__(self, rows: Rows) -> None:
        self._rows = rows
        self._positions: Slots = np.zeros(0, np.int64)

    def add(self, positions: Slots, values: Columns) -> None:
        """Note the decisions at `positions`, with the values of their optional columns."""
        if "intervention" in values:
            new = positions[values["intervention"].any(axis=1)]
            if len(new):
                # A row that is read back may have been added before.
                kept = self._positions[self._positions >= self._rows.oldest]
                self._positions = np.union1d(kept, new)

    @property
    def linked(self) -> Slots:
        """Slots of those that have a successor, oldest first."""
        slots = self._positions[self._positions >= self._rows.oldest] % self._rows.capacity
        return slots[self._rows.following[slots] != self._rows.unknown]
