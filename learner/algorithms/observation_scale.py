"""Shift and scale of observations, from data."""

from typing import NamedTuple

import numpy as np

# A number that hardly moves in the data must not be blown up when it does move.
SMALLEST_DEVIATION = 0.1


class ObservationScale(NamedTuple):
    """Networks see (observation - mean) * scale; both (O,), float64."""

    mean: np.ndarray
    scale: np.ndarray

    @classmethod
    def of(cls, observation: np.ndarray) -> "ObservationScale":
        """To zero mean and unit deviation of observations (M, O)."""
        mean = observation.mean(0, dtype=np.float64)
        variance = np.square(observation - mean).sum(0) / max(1, len(observation) - 1)
        return cls(mean, 1 / np.maximum(np.sqrt(variance), SMALLEST_DEVIATION))
