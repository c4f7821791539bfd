"""An algorithm that learns nothing: actors play what there is."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from learner.algorithms.contract import BaseWeights, Figures
from learner.algorithms.finite import NonFinite
from learner.ranks.ranks import Batch


class FixedPolicy:
    """Publishes `residual`, weights that were trained before; empty: the base plays alone."""

    updates = 0

    def __init__(self, residual: Mapping[str, Tensor]) -> None:
        self._residual = residual

    def update(self, batch: Batch) -> Figures:
        raise NotImplementedError("no update is ever due")

    def first_skipped(self) -> NonFinite | None:
        return None

    def published(self) -> Mapping[str, Tensor]:
        return self._residual

    def base(self) -> BaseWeights | None:
        return None

    def networks(self) -> dict[str, Any]:
        """What evaluations and films take for the residual."""
        return {"actor": dict(self._residual)} if self._residual else {}

    def state(self) -> dict[str, Any]:
        return {}

    def load_state(self, state: dict[str, Any]) -> None:
        """There is nothing to go on from."""


class NoBatches:
    """Of an algorithm without updates."""

    def next(self) -> Batch:
        raise NotImplementedError("no update is ever due")

    def drawn(self, later: int) -> Any:
        raise NotImplementedError("no batch was ever drawn")

    def figures(self) -> dict[str, float]:
        return {}

    def state(self) -> dict[str, Any]:
        return {}

    def load_state(self, state: dict[str, Any]) -> None:
        """There is nothing to go on from."""
