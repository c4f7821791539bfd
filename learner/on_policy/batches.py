"""A batch in pieces: each decision once in every epoch."""

from collections import deque
from typing import Any

import torch
from torch import Tensor

from config.on_policy import OnPolicyConfig
from learner.on_policy.algorithm import OnPolicy
from learner.on_policy.collector import Collector

# As many as the loop may draw before it looks whether a step was finite.
_REMEMBERED = 16


class Minibatches:
    """See `BatchSource`. A batch is taken from the collector when the first of its pieces is drawn, and is
    over when the last one was learned from, or when the algorithm has enough of it."""

    def __init__(self, algo: OnPolicyConfig, algorithm: OnPolicy, collector: Collector, *, seed: int) -> None:
        self._algo, self._algorithm, self._collector = algo, algorithm, collector
        self._rng = torch.Generator().manual_seed(seed)
        self._content: dict[str, Tensor] = {}
        self._order = torch.zeros(0, dtype=torch.int64)
        self._shuffled: dict[str, Tensor] = {}
        self._drawn = 0
        self._recent: deque[dict[str, Tensor]] = deque(maxlen=_REMEMBERED)

    @property
    def left(self) -> int:
        """Pieces of the batch under way that are still to be learned from. Asked when the drawn ones were."""
        if not self._content:
            return 0
        left = self._algo.epochs * self._pieces - self._drawn
        if left > 0 and not self._algorithm.is_enough:
            return left
        self._algorithm.finish(self._content)
        self._content = {}
        return 0

    def begin(self) -> None:
        """Take the batch that the collector has."""
        content, left = self._algorithm.prepare(self._collector.take())
        self._collector.give_back(left)
        self._content, self._drawn = content, 0
        self._algorithm.is_enough = self._rows == 0

    def next(self) -> dict[str, Tensor]:
        pieces = self._pieces
        piece = self._drawn % pieces
        if piece == 0:
            self._shuffle(torch.randperm(self._rows, generator=self._rng))
        # Equal pieces, to one row: a small last one would weigh its rows more than the others.
        rows = slice(self._rows * piece // pieces, self._rows * (piece + 1) // pieces)
        self._drawn += 1
        batch = {name: values[rows] for name, values in self._shuffled.items()}
        self._recent.append(batch)
        return batch

    def drawn(self, later: int) -> dict[str, Tensor]:
        return self._recent[-1 - later]

    def figures(self) -> dict[str, float]:
        return {}

    def state(self) -> dict[str, Any]:
        return {
            "collector": self._collector.state(),
            "content": self._content,
            "order": self._order,
            "drawn": self._drawn,
            "rng": self._rng.get_state(),
        }

    def load_state(self, state: dict[str, Any]) -> None:
        self._collector.load_state(state["collector"])
        self._content, self._drawn = dict(state["content"]), state["drawn"]
        self._rng.set_state(state["rng"])
        if self._content and self._drawn:
            self._shuffle(state["order"])

    def _shuffle(self, order: Tensor) -> None:
        """Once an epoch: to choose an update's rows from each column costs more than its arithmetic."""
        self._order = order
        self._shuffled = {name: values[order.to(values.device)] for name, values in self._content.items()}

    @property
    def _rows(self) -> int:
        return len(self._content["observation"])

    @property
    def _pieces(self) -> int:
        """Of an epoch."""
        return -(-self._rows // self._algo.minibatch_size)
