"""Seeds and frames of the episodes in a batch, and how a batch says them."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .copied.noise import Keys, Use, keys_at

EPISODE = "observation.episode"
"""A feature of the batch, (B, 5): an episode's seed as four numbers of 16 bits, high ones first, and the
frame in it. LeRobot makes float32 of what an environment tells, which holds such numbers exactly."""


class Episodes:
    """Which episode each of N sub-environments plays, and how far it is."""

    def __init__(self, first_seed: int, num_envs: int) -> None:
        self._seed = np.arange(first_seed, first_seed + num_envs, dtype=np.uint64)
        self._frame = np.zeros(num_envs, np.uint64)

    def next_ones(self, rows: Tensor) -> None:
        """Begin the next episodes of sub-environments `rows`: seeds N further on."""
        at = rows.cpu().numpy()
        self._seed[at] += np.uint64(len(self._seed))
        self._frame[at] = 0

    def begin(self, rows: Tensor, seeds: Any) -> None:
        """Begin episodes of these seeds (R,) in sub-environments `rows`."""
        at = rows.cpu().numpy()
        self._seed[at], self._frame[at] = np.asarray(seeds, np.uint64), 0

    def step(self) -> None:
        """Go on to the next frame, everywhere."""
        self._frame += np.uint64(1)

    def keys(self, rows: Tensor) -> Keys:
        """Keys of the base's random numbers in sub-environments `rows`, now."""
        at = rows.cpu().numpy()
        return keys_at(self._seed[at], self._frame[at], Use.BASE)


def told(batch: dict[str, Any]) -> tuple[NDArray[np.uint64], Tensor] | None:
    """Seeds (B,) of the episodes, and which of them (B,) begin with this batch; None: it does not say."""
    if EPISODE not in batch:
        return None
    numbers = batch[EPISODE].to("cpu", torch.int64)
    parts = numbers[:, :4].numpy().astype(np.uint64)
    shifts = np.array([48, 32, 16, 0], np.uint64)
    return np.bitwise_or.reduce(parts << shifts, axis=1), numbers[:, 4] == 0
