"""Batches for the update: online and prior transitions mixed, as tensors on the device.

Uniform, or with `priority_exponent` above 0 in proportion to |temporal-difference error| ^ exponent in each
ring by itself (Schaul et al. 2016, 1511.05952, section 3.3), so that `prior_fraction` stays what it is.
"""

from __future__ import annotations

import json
import logging

import numpy as np
import torch
from torch import Tensor

from config.algo import AlgoConfig
from learner.replay.memory.ring import Prioritised, Ring, TransitionBatch

log = logging.getLogger(__name__)

# So that a row without error may be drawn again.
_LEAST_ERROR = 1e-6


class Batches:
    """Draws `batch_size` transitions, `prior_fraction` of them from `prior` where there is one."""

    def __init__(self, algo: AlgoConfig, online: Ring, prior: Ring | None, *, seed: int, device: str) -> None:
        self._online, self._prior = online, prior
        self._prior_rows = round(algo.batch_size * algo.prior_fraction) if prior is not None else 0
        self._online_rows = algo.batch_size - self._prior_rows
        self._n_step, self._gamma = algo.n_step, algo.gamma
        self._reward_offset = -1.0 if algo.reward == "sparse_minus_one" else 0.0
        self._reward_scale = algo.reward_scale
        self._exponent, self._correction = algo.priority_exponent, algo.priority_correction
        # Of the newest batch, ring by ring, where priorities are kept.
        self._drawn: list[tuple[Ring, np.ndarray]] = []
        self.non_finite_errors = 0
        """Of all batches that this process drew."""
        self._rng = np.random.default_rng(seed)
        self._device = torch.device(device)

    def state(self) -> str:
        """Of the random draws, for `load_state` of another process."""
        return json.dumps(self._rng.bit_generator.state)

    def load_state(self, state: str) -> None:
        """Draw on from where `state` was taken."""
        self._rng.bit_generator.state = json.loads(state)

    def next(self) -> dict[str, Tensor]:
        """The fields of `learner.replay.memory.ring.Batch` as tensors (batch_size, ...); where priorities are
        kept, also `weight`, the importance of each row, at most 1."""
        rings = [(self._online, self._online_rows)]
        if self._prior is not None and self._prior_rows:
            rings.append((self._prior, self._prior_rows))
        if self._exponent == 0:
            return self._joined([self._draw(ring, rows) for ring, rows in rings])
        drawn = [self._draw_prioritised(ring, rows) for ring, rows in rings]
        self._drawn = [(ring, part.positions) for (ring, _), part in zip(rings, drawn, strict=True)]
        weight = self._here(torch.cat([part.weights for part in drawn]))
        return self._joined([part.batch for part in drawn]) | {"weight": weight / weight.max()}

    def reprioritise(self, errors: Tensor) -> None:
        """Tell the newest batch's temporal-difference errors (batch_size,), of any sign. Rows whose error is
        not finite, since critics diverged, keep the priority that they have."""
        priorities = (errors.abs().double().cpu().numpy() + _LEAST_ERROR) ** self._exponent
        known = np.isfinite(priorities)
        self._count_unknown(len(known) - int(known.sum()))
        first = 0
        for ring, positions in self._drawn:
            here = slice(first, first + len(positions))
            ring.set_priorities(positions[known[here]], priorities[here][known[here]])
            first += len(positions)

    def _count_unknown(self, errors: int) -> None:
        if errors and not self.non_finite_errors:
            log.warning(
                "%d temporal-difference errors of a batch are not finite: the critics diverged; "
                "their rows keep their priorities, and this is said once", errors,
            )  # fmt: skip
        self.non_finite_errors += errors

    def _joined(self, parts: list[TransitionBatch]) -> dict[str, Tensor]:
        batch = {
            name: self._here(torch.cat(column))
            for name, column in zip(TransitionBatch._fields, zip(*parts, strict=True), strict=True)
        }
        batch["reward"] *= self._reward_scale
        return batch

    def _here(self, column: Tensor) -> Tensor:
        # From a GPU to the processor somebody has to wait, else the numbers are read before they came.
        return column.to(self._device, non_blocking=self._device.type != "cpu")

    def _draw(self, ring: Ring, rows: int) -> TransitionBatch:
        return ring.sample(
            rows, self._rng, n_step=self._n_step, gamma=self._gamma, reward_offset=self._reward_offset
        )

    def _draw_prioritised(self, ring: Ring, rows: int) -> Prioritised:
        return ring.sample_prioritised(
            rows, self._rng, beta=self._correction,
            n_step=self._n_step, gamma=self._gamma, reward_offset=self._reward_offset,
        )  # fmt: skip
