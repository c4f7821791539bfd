"""Sums of non-negative weights in a binary tree: draws in proportion to them in O(log n), many at once."""

from __future__ import annotations

import numpy as np


class SumTree:
    """Weights of slots 0 .. size - 1, all zero at first; f8.

    Node 1 is the root, node i has the children 2 i and 2 i + 1, and slot s is leaf `leaves + s`.
    """

    def __init__(self, size: int) -> None:
        self._depth = max(1, (size - 1).bit_length())
        self._leaves = 1 << self._depth
        self._nodes = np.zeros(2 * self._leaves)

    @property
    def nbytes(self) -> int:
        """Bytes of all nodes."""
        return self._nodes.nbytes

    @property
    def total(self) -> float:
        """Sum of all weights."""
        return float(self._nodes[1])

    def __getitem__(self, slots: np.ndarray) -> np.ndarray:
        return self._nodes[self._leaves + slots]

    def set(self, slots: np.ndarray, weights: np.ndarray | float) -> None:
        """Set weights; of a slot that is named twice, the last one counts."""
        at = self._leaves + slots
        self._nodes[at] = weights
        for _ in range(self._depth):
            at = at >> 1
            # A parent that is computed twice gets the same sum twice.
            self._nodes[at] = self._nodes[2 * at] + self._nodes[2 * at + 1]

    def find(self, sums: np.ndarray) -> np.ndarray:
        """For each number in [0, total), the slot in whose share of the total it lies."""
        at = np.ones(len(sums), np.int64)
        left_over = np.array(sums, np.float64)
        for _ in range(self._depth):
            left = self._nodes[2 * at]
            # Rounding may leave a little more than all: never enter a half without weight.
            right = (left_over >= left) & (self._nodes[2 * at + 1] > 0)
            left_over -= np.where(right, left, 0)
            at = 2 * at + right
        return at - self._leaves
