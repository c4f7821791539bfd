"""Mean and deviation of all observations so far, without keeping them."""

from __future__ import annotations

from typing import Any

import numpy as np


class RunningScale:
    """Moments over any number of batches, exact and in one pass (Chan, Golub, LeVeque 1979)."""

    def __init__(self, observation_dim: int) -> None:
        self.count = 0
        self.mean = np.zeros(observation_dim)
        self._squares = np.zeros(observation_dim)

    @property
    def deviation(self) -> np.ndarray:
        """(O,) of the sample; zeros before the second row."""
        return np.sqrt(self._squares / max(1, self.count - 1))

    def state(self) -> dict[str, Any]:
        """For `load_state` of another process."""
        return {"count": self.count, "mean": self.mean.tolist(), "squares": self._squares.tolist()}

    def load_state(self, state: dict[str, Any]) -> None:
        """Go on from what `state` returned."""
        self.count = state["count"]
        self.mean, self._squares = np.array(state["mean"]), np.array(state["squares"])

    def add(self, observation: np.ndarray) -> None:
        """Take in rows (M, O)."""
        rows = len(observation)
        if rows == 0:
            return
        mean = observation.mean(0, dtype=np.float64)
        squares = np.square(observation - mean).sum(0)
        total = self.count + rows
        shift = mean - self.mean
        self._squares += squares + np.square(shift) * self.count * rows / total
        self.mean += shift * rows / total
        self.count = total
