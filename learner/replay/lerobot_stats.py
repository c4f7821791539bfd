"""Statistics as LeRobot keeps them: for each episode, and merged over all of them.

All features lie side by side in one matrix, so that an episode costs a handful of numpy calls.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

QUANTILES = {"q01": 0.01, "q10": 0.10, "q50": 0.50, "q90": 0.90, "q99": 0.99}
STATISTICS = ("min", "max", "mean", "std", *QUANTILES)
_MIN, _MAX, _MEAN, _STD = range(4)


def describe(values: np.ndarray) -> np.ndarray:
    """Statistics of one episode: f8 (T, D) -> f8 (9, D) in the order of `STATISTICS`."""
    ordered = np.sort(np.ascontiguousarray(values.T), axis=1)
    # The smallest value that at least the share q of the frames does not exceed, as LeRobot has it.
    at = np.ceil(np.asarray(list(QUANTILES.values())) * len(values)).astype(int) - 1
    return np.vstack([ordered[:, 0], ordered[:, -1], values.mean(0), values.std(0), ordered[:, at].T])


class MergedStatistics:
    """Statistics over all episodes so far, merged as `lerobot.datasets.compute_stats` merges them.

    Minimum, maximum, mean and standard deviation are exact; a quantile is the mean of the episodes'
    quantiles, weighted by their frames.
    """

    def __init__(self) -> None:
        self.count = 0
        self._merged: np.ndarray | None = None

    def add(self, statistics: np.ndarray, counts: np.ndarray) -> None:
        """Merge E episodes: f8 (E, 9, D) and their numbers of frames, (E,)."""
        if self._merged is not None:
            statistics = np.concatenate([self._merged[None], statistics])
            counts = np.concatenate([[self.count], counts])
        weights = counts / counts.sum()
        merged = np.tensordot(weights, statistics, 1)
        merged[_MIN] = statistics[:, _MIN].min(0)
        merged[_MAX] = statistics[:, _MAX].max(0)
        spread = statistics[:, _STD] ** 2 + (statistics[:, _MEAN] - merged[_MEAN]) ** 2
        merged[_STD] = np.sqrt(weights @ spread)
        self.count, self._merged = int(counts.sum()), merged

    def as_json(self, slices: Mapping[str, slice]) -> dict[str, dict[str, list[Any]]]:
        """What stats.json holds; `slices` says which columns of the matrix are whose."""
        if self._merged is None:
            raise ValueError("there are no statistics before the first episode")
        return {
            feature: {
                **{name: self._merged[i, at].tolist() for i, name in enumerate(STATISTICS)},
                "count": [self.count],
            }
            for feature, at in slices.items()
        }
