"""A base in training as an algorithm of a run."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from learner.algorithms.contract import BaseWeights, Figures
from learner.algorithms.finite import NonFinite
from learner.base_training.tuners.contract import BaseTuner
from learner.ranks.ranks import Batch


class BaseTuning:
    """See `Algorithm`.

    Args:
        publish_every: updates between two versions of the base.
        round_updates: the base is published after each of so many updates too.
        is_resumed: the run has had a learner before, whose base actors may have, even of a later update: they
            get that of this one at once.
    """

    def __init__(self, tuner: BaseTuner, *, publish_every: int, round_updates: int, is_resumed: bool) -> None:
        self._tuner = tuner
        self._publish_every, self._round_updates = publish_every, round_updates
        self._published = None if is_resumed else 0
        """After how many updates this process published a base last; None: not yet, so it will at once."""

    @property
    def updates(self) -> int:
        return self._tuner.updates

    def update(self, batch: Batch) -> Figures:
        return self._tuner.update(batch)

    def first_skipped(self) -> NonFinite | None:
        return self._tuner.first_skipped()

    def published(self) -> Mapping[str, Tensor]:
        """Nothing: there is no residual."""
        return {}

    def base(self) -> BaseWeights | None:
        if not self._is_due():
            return None
        self._published = self.updates
        weights = {name: value.detach().clone() for name, value in self._tuner.weights().items()}

        def save(folder: Path) -> None:
            self._tuner.save(folder, weights)

        return BaseWeights(weights, save)

    def networks(self) -> dict[str, Any]:
        """Nothing: the base is kept as a base."""
        return {}

    def state(self) -> dict[str, Any]:
        return {"tuner": self._tuner.state()}

    def load_state(self, state: dict[str, Any]) -> None:
        """Continue from what `state` returned. Raises ValueError: the state of another base."""
        self._tuner.load_state(state["tuner"])

    def _is_due(self) -> bool:
        if self._published is None or self.updates == self._published:
            return self._published is None
        enough = self.updates - self._published >= self._publish_every
        return enough or self.updates % self._round_updates == 0
