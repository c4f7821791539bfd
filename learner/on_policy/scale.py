"""Mean and deviation of everything that has been seen so far."""

from typing import Any

import torch
from torch import Tensor

# A number that has hardly moved so far must not be blown up when it does move.
SMALLEST_DEVIATION = 0.01


class RunningScale:
    """Of rows (B, ...), in float64 (Chan et al. 1979, "Updating formulae and a pairwise algorithm")."""

    def __init__(self, *shape: int) -> None:
        self._count = 0
        self.mean = torch.zeros(shape, dtype=torch.float64)
        self._squares = torch.zeros(shape, dtype=torch.float64)

    def add(self, rows: Tensor) -> None:
        """Count rows (B, ...) too."""
        if not len(rows):
            return
        rows = rows.detach().cpu().double()
        count, mean = len(rows), rows.mean(0)
        apart, together = mean - self.mean, self._count + count
        self._squares += (rows - mean).square().sum(0) + apart.square() * self._count * count / together
        self.mean = self.mean + apart * count / together
        self._count = together

    @property
    def deviation(self) -> Tensor:
        """At least `SMALLEST_DEVIATION`; 1 before the first rows."""
        if not self._count:
            return torch.ones_like(self.mean)
        return (self._squares / self._count).sqrt().clamp_min(SMALLEST_DEVIATION)

    def state(self) -> dict[str, Any]:
        return {"count": self._count, "mean": self.mean, "squares": self._squares}

    def load_state(self, state: dict[str, Any]) -> None:
        """Go on from what `state` returned. Raises ValueError: of another shape."""
        if state["mean"].shape != self.mean.shape:
            raise ValueError(f"a scale of {list(state['mean'].shape)}, expected {list(self.mean.shape)}")
        self._count, self.mean, self._squares = (
            state["count"],
            state["mean"].clone(),
            state["squares"].clone(),
        )
