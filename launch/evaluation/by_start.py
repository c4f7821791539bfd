"""Success by where an episode starts: its first observation, a dimension at a time."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from actor.evaluation import Outcome
from config.layout import find_part
from config.process import UsageError
from learner.intervals import wilson_interval

PARTS = 4
"""Ranges of a dimension, each with as many episodes."""
# What differs by less, such as a joint that rests, says nothing about where an episode starts.
_SAME = 1e-4


class Row(NamedTuple):
    """Episodes whose first observation has a dimension in [low, high]."""

    dimension: int
    low: float
    high: float
    episodes: int
    success: float

    def __str__(self) -> str:
        least, most = wilson_interval(self.success, self.episodes)
        return (
            f"{self.low:8.3f} to {self.high:7.3f}   {self.episodes:4d} episodes   "
            f"{100 * self.success:3.0f} % ({100 * least:.0f} to {100 * most:.0f})"
        )


def by_start(outcomes: Sequence[Outcome], dimensions: Sequence[int]) -> dict[int, list[Row]]:
    """Rows of each dimension that differs between the episodes."""
    starts = np.array([outcome.start for outcome in outcomes])
    successes = np.array([outcome.success for outcome in outcomes])
    return {
        dimension: list(_rows(dimension, starts[:, dimension], successes))
        for dimension in dimensions
        if np.ptp(starts[:, dimension]) > _SAME
    }


def _rows(dimension: int, values: np.ndarray, successes: np.ndarray) -> Iterator[Row]:
    for part in np.array_split(np.argsort(values, kind="stable"), min(PARTS, len(values))):
        inside, rate = values[part], float(successes[part].mean())
        yield Row(dimension, float(inside.min()), float(inside.max()), len(part), rate)


def chosen_dimensions(asked: str, parts: dict[str, int], observation_dim: int) -> list[int]:
    """The dimensions that `--by` names: indices and names of parts of the observation, with commas.

    Args:
        parts: name of each part, and how many dimensions it has, in the observation's order; as `residual-rl
            inspect` lists them.

    Raises UsageError: no such part or dimension."""
    chosen: list[int] = []
    for word in map(str.strip, asked.split(",")):
        chosen += [int(word)] if word.isdecimal() else _of_part(word, parts)
    if (most := max(chosen)) >= observation_dim:
        raise UsageError(f"--by {most}: an observation has the dimensions 0 to {observation_dim - 1}")
    return chosen


def _of_part(name: str, parts: dict[str, int]) -> list[int]:
    part = find_part(name, parts)
    if part is None:
        raise UsageError(f"--by {name}: the observation has no such part, it has {', '.join(parts)}")
    return list(range(part.start, part.end))
