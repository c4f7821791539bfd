"""Batches for the update: online and prior transitions mixed, as tensors on the device."""

import json
import math
from collections import deque
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from config.algo import AlgoConfig
from learner.replay.memory.hindsight import Hindsight
from learner.replay.memory.ring import Ring, Sampled
from learner.replay.memory.rows import Flags, Slots
from learner.replay.memory.transitions import TransitionBatch

# A reward this many decisions away counts for nothing to speak of, or is too expensive to look for.
_LEAST_WEIGHT, _MOST_DECISIONS = 0.01, 200
# Batches whose places are remembered: more than the learner draws between two looks at what came of them.
REMEMBERED = 64


class Drawn(NamedTuple):
    """A batch of B transitions, on the CPU, and where they are from."""

    transitions: TransitionBatch
    is_prior: Flags
    """b1 (B,): whether they are prior data."""
    start: Slots
    """i8 (B,), the position of the row that each begins with, in the online or in the prior ring."""
    end: Slots


class _Share(NamedTuple):
    """A part of every batch, and where it comes from."""

    ring: Ring
    rows: int
    intervened: bool = False


class Batches:
    """Draws `batch_size` transitions, `prior_fraction` of them from `prior` if there is one, and
    `intervention_fraction` of decisions in which somebody intervened (Ball et al. 2023, arXiv 2302.02948, mix
    prior data into every batch in this way).

    `hindsight`: gives some of them other goals; None: none."""

    def __init__(
        self,
        algo: AlgoConfig,
        online: Ring,
        prior: Ring | None,
        *,
        seed: int,
        device: str,
        hindsight: Hindsight | None = None,
    ) -> None:
        prior_rows = round(algo.batch_size * algo.prior_fraction) if prior is not None else 0
        self._online = _Share(online, algo.batch_size - prior_rows)
        self._intervened = _Share(online, round(algo.batch_size * algo.intervention_fraction), True)
        self._prior = [_Share(prior, prior_rows)] if prior is not None and prior_rows else []
        self._hindsight, self._looks_at = hindsight, algo.looks_at
        self._n_step, self._gamma = algo.n_step, algo.gamma
        self._reward_offset = -1.0 if algo.reward == "sparse_minus_one" else 0.0
        self._rng = np.random.default_rng(seed)
        self._looks = np.random.default_rng(seed)  # of its own: looking changes no batch
        self._device = torch.device(device)
        self._places: deque[list[tuple[Ring, Slots, Slots]]] = deque(maxlen=REMEMBERED)

    def state(self) -> str:
        """State of the random draws, for `load_state` of another process."""
        return json.dumps(self._rng.bit_generator.state)

    def load_state(self, state: str) -> None:
        """Continue the draws from where `state` was taken."""
        self._rng.bit_generator.state = json.loads(state)

    def next(self) -> dict[str, Tensor]:
        """The fields of `TransitionBatch` as tensors (batch_size, ...), and of `Sampled` the pictures."""
        shares = self._shares()
        parts = [self._draw(share) for share in shares]
        self._places.append(
            [(share.ring, part.start, part.end) for share, part in zip(shares, parts, strict=True)]
        )
        columns = zip(*(part.transitions for part in parts), strict=True)
        batch = {
            name: self._here(torch.cat(column))
            for name, column in zip(TransitionBatch._fields, columns, strict=True)
        }
        if self._looks_at is not None:
            for name in ("pictures", "next_pictures"):
                batch[name] = self._here(torch.cat([getattr(part, name) for part in parts]))
        return batch

    def figures(self) -> dict[str, float]:
        """For metrics.jsonl."""
        return {"return_earned": self.return_earned()} if self._online.ring.has_transitions else {}

    def _shares(self) -> list[_Share]:
        """Of the next batch: where nobody has intervened yet, the online rows have that share too."""
        online, intervened = self._online, self._intervened
        if not intervened.rows or not online.ring.has_intervened:
            return [online, *self._prior]
        return [online._replace(rows=online.rows - intervened.rows), intervened, *self._prior]

    def return_earned(self) -> float:
        """Discounted reward that really followed the decisions of such a batch, as far as it is known: what
        the critics' mean value (`q_mean`) should be like."""
        total, sources = 0.0, [self._online, *self._prior]
        for share in sources:
            batch = share.ring.sample(
                share.rows,
                self._looks,
                n_step=self._horizon(),
                gamma=self._gamma,
                reward_offset=self._reward_offset,
            )
            total += float(batch.reward.sum())
        return total / sum(share.rows for share in sources)

    def _horizon(self) -> int:
        """Decisions until the discount is below `_LEAST_WEIGHT`."""
        if self._gamma == 1:
            return _MOST_DECISIONS
        return min(math.ceil(math.log(_LEAST_WEIGHT) / math.log(self._gamma)), _MOST_DECISIONS)

    def drawn(self, later: int) -> Drawn:
        """The batch after which `later` more were drawn, less than `REMEMBERED`, and no rows added."""
        places = self._places[-1 - later]
        parts = [
            ring.transitions(start, n_step=self._n_step, gamma=self._gamma, reward_offset=self._reward_offset)
            for ring, start, _ in places
        ]
        starts = np.concatenate([ring.rows.positions(start) for ring, start, _ in places])
        ends = np.concatenate([ring.rows.positions(end) for ring, _, end in places])
        is_prior = [np.full(len(start), ring is not self._online.ring) for ring, start, _ in places]
        return Drawn(
            TransitionBatch(*(torch.cat(column).cpu() for column in zip(*parts, strict=True))),
            np.concatenate(is_prior),
            starts,
            ends,
        )

    def _draw(self, share: _Share) -> Sampled:
        return share.ring.sample_with_places(
            share.rows,
            self._rng,
            n_step=self._n_step,
            gamma=self._gamma,
            reward_offset=self._reward_offset,
            intervened=share.intervened,
            hindsight=self._hindsight,
            looks_at=self._looks_at,
        )

    def _here(self, column: Tensor) -> Tensor:
        # A copy from a GPU to the CPU must block, else its values are read before they have arrived.
        return column.to(self._device, non_blocking=self._device.type != "cpu")
