"""Statistics as LeRobot keeps them: for each episode, and merged over all of them.

All features lie side by side in one matrix, so that many episodes cost a handful of numpy calls.
"""

from __future__ import annotations

import ctypes
from collections.abc import Collection, Mapping
from ctypes import c_int64, c_void_p
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from actor.policy.native.build import compiled_if_possible

QUANTILES = {"q01": 0.01, "q10": 0.10, "q50": 0.50, "q90": 0.90, "q99": 0.99}
STATISTICS = ("min", "max", "mean", "std", *QUANTILES)
_MIN, _MAX, _MEAN, _STD = range(4)


@cache
def library() -> ctypes.CDLL | None:
    """The compiled `statistics.cpp`; None, and one warning, where it is not to be had."""
    source = Path(__file__).with_name("statistics.cpp")
    loaded = compiled_if_possible("statistics of episodes with numpy", source)
    if loaded is None:
        return None
    loaded.describe_episodes.argtypes = [c_void_p, c_int64, c_void_p, c_int64, c_void_p, c_int64, c_void_p]
    return loaded


def describe(values: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """Statistics of E episodes that lie end to end, in the order of `STATISTICS`.

    Args:
        values: f8 (N, D).
        lengths: (E,), frames of each episode, at least 1; N in all.

    Returns:
        f8 (E, 9, D)
    """
    native = library()
    if native is None:
        return _describe_with_numpy(values, lengths)
    values, lengths = np.ascontiguousarray(values, np.float64), np.ascontiguousarray(lengths, np.int64)
    quantiles = np.array([*QUANTILES.values()])
    described = np.empty((len(lengths), len(STATISTICS), values.shape[1]))
    native.describe_episodes(
        values.ctypes.data, values.shape[1], lengths.ctypes.data, len(lengths),
        quantiles.ctypes.data, len(quantiles), described.ctypes.data,
    )  # fmt: skip
    return described


def _describe_with_numpy(values: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    starts = np.cumsum(lengths) - lengths
    mean = np.add.reduceat(values, starts, axis=0) / lengths[:, None]
    spread = values - np.repeat(mean, lengths, axis=0)
    spread *= spread
    std = np.sqrt(np.add.reduceat(spread, starts, axis=0) / lengths[:, None])
    frame = np.arange(lengths.max())
    padded = values[np.minimum(starts[:, None] + frame, len(values) - 1)]
    padded[frame >= lengths[:, None]] = np.inf
    padded.sort(axis=1)
    # The smallest value that at least the share q of the frames does not exceed, as LeRobot has it.
    ranks = [np.ceil(q * lengths).astype(int) - 1 for q in QUANTILES.values()]
    episode = np.arange(len(lengths))
    ordered = [padded[:, 0], padded[episode, lengths - 1]]
    return np.stack([*ordered, mean, std, *(padded[episode, rank] for rank in ranks)], axis=1)


def describe_images(images: np.ndarray) -> np.ndarray:
    """Statistics over all pixels of an episode's images u1 (T, H, W, 3): f8 (9, 3), of values in [0, 1]."""
    counts = np.stack([np.bincount(images[..., c].reshape(-1), minlength=256) for c in range(3)], axis=1)
    levels, total = np.arange(256.0)[:, None], counts[:, 0].sum()
    mean = (counts * levels).sum(0) / total
    std = np.sqrt((counts * (levels - mean) ** 2).sum(0) / total)
    below = counts.cumsum(0)
    ranks = [1, total, *(np.ceil(q * total) for q in QUANTILES.values())]
    lowest, highest, *quantiles = [np.argmax(below >= rank, axis=0) for rank in ranks]
    return np.stack([lowest, highest, mean, std, *quantiles]) / 255


class MergedStatistics:
    """Statistics over all episodes so far, merged as `lerobot.datasets.compute_stats` merges them.

    Minimum, maximum, mean and standard deviation are exact; a quantile is the mean of the episodes'
    quantiles, weighted by their frames.
    """

    def __init__(self, count: int = 0, merged: np.ndarray | None = None) -> None:
        self.count = count
        self._merged = merged

    @classmethod
    def from_json(cls, content: Mapping[str, Any], slices: Mapping[str, slice]) -> MergedStatistics:
        """What `as_json` said."""
        merged = np.empty((len(STATISTICS), max(at.stop for at in slices.values())))
        for feature, at in slices.items():
            merged[:, at] = [np.ravel(content[feature][name]) for name in STATISTICS]
        return cls(int(next(iter(content.values()))["count"][0]), merged)

    def plus(self, statistics: np.ndarray, counts: np.ndarray) -> MergedStatistics:
        """With E more episodes: f8 (E, 9, D) and their numbers of frames, (E,)."""
        if self._merged is not None:
            statistics = np.concatenate([self._merged[None], statistics])
            counts = np.concatenate([[self.count], counts])
        weights = counts / counts.sum()
        merged = np.tensordot(weights, statistics, 1)
        merged[_MIN] = statistics[:, _MIN].min(0)
        merged[_MAX] = statistics[:, _MAX].max(0)
        spread = statistics[:, _STD] ** 2 + (statistics[:, _MEAN] - merged[_MEAN]) ** 2
        merged[_STD] = np.sqrt(np.tensordot(weights, spread, 1))
        return MergedStatistics(int(counts.sum()), merged)

    def as_json(
        self, slices: Mapping[str, slice], images: Collection[str] = ()
    ) -> dict[str, dict[str, list[Any]]]:
        """What stats.json holds; `slices` says which columns of the matrix are whose, `images` which of
        them are channels."""
        if self._merged is None:
            raise ValueError("there are no statistics before the first episode")
        return {
            feature: {
                **{
                    name: self._merged[i, at].reshape((3, 1, 1) if feature in images else (-1,)).tolist()
                    for i, name in enumerate(STATISTICS)
                },
                "count": [self.count],
            }
            for feature, at in slices.items()
        }
