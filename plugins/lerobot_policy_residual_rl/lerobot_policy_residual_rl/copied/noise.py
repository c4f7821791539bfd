"""Random numbers that belong to an episode: the same alone and in any batch, on any device.

Each number is a hash of the episode's seed, the frame and what the number is for. The hash is SplitMix64
(Steele et al. 2014, "Fast splittable pseudorandom number generators"): number i is mix(state + i * GAMMA) and
needs none of the numbers before it.
"""

from enum import IntEnum
from functools import cache

import numpy as np
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

Keys = NDArray[np.uint64]
"""A generator's states (B,), one a row: where the row's numbers begin."""

_GAMMA = 0x9E3779B97F4A7C15
_ROUNDS = ((np.uint64(30), np.uint64(0xBF58476D1CE4E5B9)), (np.uint64(27), np.uint64(0x94D049BB133111EB)))
_LAST_SHIFT = np.uint64(31)
# From the numbers of one use to those of the next, 2**32 numbers on, and from one frame to the next.
_NEXT_USE = np.uint64((_GAMMA << 32) % 2**64)
_NEXT_FRAME = np.uint64((_GAMMA << 36) % 2**64)


class Use(IntEnum):
    """What random numbers are for."""

    BASE = 0
    MASK = 1
    UNIFORM_RESIDUAL = 2
    SAMPLED_RESIDUAL = 3
    NOISE_STARTS = 4
    NOISE = 5
    TAKEOVER = 6


def keys_at(seed: ArrayLike, frame: ArrayLike, use: Use) -> Keys:
    """Keys (B,) of the numbers for `use` at frames of episodes with these seeds, each a number or (B,)."""
    return _first_key(seed) + np.atleast_1d(np.asarray(frame, np.uint64)) * _NEXT_FRAME + _offset(use)


def uniform(keys: Keys, count: int) -> NDArray[np.float32]:
    """(B, count) in [0, 1)."""
    return (_bits(keys, count) >> np.uint64(40)).astype(np.float32) * np.float32(2**-24)


def normal(keys: Keys, count: int) -> NDArray[np.float32]:
    """(B, count) of mean 0 and deviation 1, by Box and Muller's transform."""
    pairs = _bits(keys, (count + 1) // 2).view(np.uint32).astype(np.float32)
    unit, turn = pairs[:, ::2], pairs[:, 1::2]
    # The half keeps the logarithm finite; the largest deviation is 6.8.
    radius = np.sqrt(np.log((unit + np.float32(0.5)) * np.float32(2**-32)) * np.float32(-2))
    angle = turn * np.float32(2 * np.pi * 2**-32)
    pairs[:, ::2], pairs[:, 1::2] = radius * np.cos(angle), radius * np.sin(angle)
    return pairs[:, :count]


def _bits(keys: Keys, count: int) -> NDArray[np.uint64]:
    return _mix(keys[:, None] + _steps(count))


@cache
def _steps(count: int) -> NDArray[np.uint64]:
    return np.arange(1, count + 1, dtype=np.uint64) * np.uint64(_GAMMA)


def _first_key(seed: ArrayLike) -> Keys:
    """Seeds beside one another give states far apart."""
    return _mix(np.atleast_1d(np.asarray(seed, np.uint64)) * np.uint64(_GAMMA))


@cache
def _offset(use: Use) -> NDArray[np.uint64]:
    return np.array([use], np.uint64) * _NEXT_USE


def _mix(state: NDArray[np.uint64]) -> NDArray[np.uint64]:
    for shift, factor in _ROUNDS:
        state = (state ^ (state >> shift)) * factor
    return state ^ (state >> _LAST_SHIFT)


class EpisodeSeeds:
    """Seeds and frames of the episodes that N sub-environments play.

    Sub-environment i plays seeds first + i, first + i + N, ..., as after `VectorEnvironment.reset(first)`.
    """

    def __init__(self, first: int, num_envs: int) -> None:
        self._first, self._count = first, num_envs
        self.restart()

    def restart(self) -> None:
        """Begin the first episodes, everywhere."""
        self._seed = np.arange(self._first, self._first + self._count, dtype=np.uint64)
        self._key = _first_key(self._seed)

    def begin(self, rows: Tensor) -> None:
        """Begin the next episodes of sub-environments `rows`."""
        at = rows.cpu().numpy()
        self._seed[at] += np.uint64(self._count)
        self._key[at] = _first_key(self._seed[at])

    def rest(self, rows: Tensor) -> None:
        """No frame has passed in the episodes of sub-environments `rows`, which are at their starts."""
        at = rows.cpu().numpy()
        self._key[at] = _first_key(self._seed[at])

    def step(self) -> None:
        """Go on to the next frame, everywhere."""
        self._key += _NEXT_FRAME

    def keys(self, rows: Tensor, use: Use) -> Keys:
        """Keys (R,) of `use` at the present frames of sub-environments `rows`."""
        return self._key[rows.cpu().numpy()] + _offset(use)
