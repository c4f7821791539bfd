"""Statistics as LeRobot keeps them: for each episode, and merged over all of them.

All features are side by side in one matrix, so that many episodes cost a handful of numpy calls.
"""

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np

from learner.replay.dataset.arrow import Array

QUANTILES = {"q01": 0.01, "q10": 0.10, "q50": 0.50, "q90": 0.90, "q99": 0.99}
STATISTICS = ("min", "max", "mean", "std", *QUANTILES)
_MIN, _MAX, _MEAN, _STD = range(4)


def describe(values: Array, lengths: Array) -> Array:
    """Statistics of E episodes, one behind the other, in the order of `STATISTICS`.

    Args:
        values: f8 (N, D).
        lengths: (E,), frames of each episode, at least 1; N in all.

    Returns:
        f8 (E, 9, D)
    """
    # Episodes of one length together: a run has few different ones.
    different = np.unique(lengths)
    if len(different) == 1:
        return _describe_equal(values.reshape(len(lengths), -1, values.shape[1]))
    described = np.empty((len(lengths), len(STATISTICS), values.shape[1]))
    starts = np.cumsum(lengths) - lengths
    for length in different:
        same = np.flatnonzero(lengths == length)
        described[same] = _describe_equal(values[starts[same][:, None] + np.arange(length)])
    return described


def _describe_equal(values: Array) -> Array:
    """The same of episodes of one length, f8 (E, T, D)."""
    frames = values.shape[1]
    ordered = np.sort(values, axis=1)
    mean = values.mean(1)
    away = values - mean[:, None]
    std = np.sqrt(np.einsum("etd,etd->ed", away, away) / frames)
    # The smallest value that at least the share q of the frames does not exceed, as LeRobot has it.
    quantiles = [ordered[:, int(np.ceil(q * frames)) - 1] for q in QUANTILES.values()]
    return np.stack([ordered[:, 0], ordered[:, -1], mean, std, *quantiles], axis=1)


def describe_images(images: Array) -> Array:
    """Statistics over all pixels of an episode's images (T, H, W, C): f8 (9, C). Those of colours, u1, are of
    values in [0, 1], those of depth, u2, in millimetres, as LeRobot has them."""
    several, channels = np.iinfo(images.dtype).max + 1, range(images.shape[-1])
    counts = np.stack([np.bincount(images[..., c].reshape(-1), minlength=several) for c in channels], axis=1)
    levels, total = np.arange(float(several))[:, None], counts[:, 0].sum()
    mean = (counts * levels).sum(0) / total
    std = np.sqrt((counts * (levels - mean) ** 2).sum(0) / total)
    below = counts.cumsum(0)
    ranks = [1, total, *(np.ceil(q * total) for q in QUANTILES.values())]
    lowest, highest, *quantiles = [np.argmax(below >= rank, axis=0) for rank in ranks]
    return np.stack([lowest, highest, mean, std, *quantiles]) / (255 if images.dtype == np.uint8 else 1)


class MergedStatistics:
    """Statistics over all episodes so far, merged as `lerobot.datasets.compute_stats` merges them.

    Minimum, maximum, mean and standard deviation are exact; a quantile is the mean of the episodes'
    quantiles, weighted by their frames.
    """

    def __init__(self, count: int = 0, merged: Array | None = None) -> None:
        self.count = count
        self._merged = merged

    @classmethod
    def from_json(cls, content: Mapping[str, Any], slices: Mapping[str, slice]) -> "MergedStatistics":
        """The inverse of `as_json`."""
        merged = np.empty((len(STATISTICS), max(at.stop for at in slices.values())))
        for feature, at in slices.items():
            merged[:, at] = [np.ravel(content[feature][name]) for name in STATISTICS]
        return cls(int(next(iter(content.values()))["count"][0]), merged)

    def plus(self, statistics: Array, counts: Array) -> "MergedStatistics":
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
        """Content of stats.json; `slices` says which columns of the matrix belong to which feature, `images`
        which of these are channels."""
        if self._merged is None:
            raise ValueError("there are no statistics before the first episode")
        return {
            feature: {
                **{
                    name: self._merged[i, at].reshape((-1, 1, 1) if feature in images else (-1,)).tolist()
                    for i, name in enumerate(STATISTICS)
                },
                "count": [self.count],
            }
            for feature, at in slices.items()
        }
