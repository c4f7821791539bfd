"""Batches for the update: online and prior transitions mixed, as tensors on the device."""

from __future__ import annotations

import json

import numpy as np
import torch
from torch import Tensor

from config.schema import Algo
from learner.replay.ring import Batch, Ring


class Batches:
    """Draws `batch_size` transitions, `prior_fraction` of them from `prior` where there is one."""

    def __init__(self, algo: Algo, online: Ring, prior: Ring | None, *, seed: int, device: str) -> None:
        self._online, self._prior = online, prior
        self._prior_rows = round(algo.batch_size * algo.prior_fraction) if prior is not None else 0
        self._online_rows = algo.batch_size - self._prior_rows
        self._n_step, self._gamma = algo.n_step, algo.gamma
        self._reward_offset = -1.0 if algo.reward == "sparse_minus_one" else 0.0
        self._reward_scale = algo.reward_scale
        self._rng = np.random.default_rng(seed)
        self._device = torch.device(device)

    def state(self) -> str:
        """Of the random draws, for `load_state` of another process."""
        return json.dumps(self._rng.bit_generator.state)

    def load_state(self, state: str) -> None:
        """Draw on from where `state` was taken."""
        self._rng.bit_generator.state = json.loads(state)

    def next(self) -> dict[str, Tensor]:
        """The fields of `learner.replay.ring.Batch` as tensors (batch_size, ...)."""
        parts = [self._draw(self._online, self._online_rows)]
        if self._prior is not None and self._prior_rows:
            parts.append(self._draw(self._prior, self._prior_rows))
        batch = {
            name: torch.cat(column).to(self._device, non_blocking=True)
            for name, column in zip(Batch._fields, zip(*parts, strict=True), strict=True)
        }
        batch["reward"] *= self._reward_scale
        return batch

    def _draw(self, ring: Ring, rows: int) -> Batch:
        return ring.sample(
            rows, self._rng, n_step=self._n_step, gamma=self._gamma, reward_offset=self._reward_offset
        )
