"""The processes that make an update together: here one alone, in `joined.py` several."""

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from enum import IntEnum

import torch
from torch import Tensor

Batch = dict[str, Tensor]


class Order(IntEnum):
    """What rank 0 asks of the others."""

    UPDATE = 1
    FIGURES = 2


class Ranks:
    """One process, to which nothing is added. An update of several is that of one with their joint batch, to
    rounding: rank r learns from the r-th of `size` equal parts, and gradients are averaged."""

    rank, size = 0, 1
    device: str | None = None
    """Where Accelerate puts the networks; None: where the configuration says."""

    def tell(self, content: bytes) -> None:
        """Rank 0: send what the others `hear`."""

    def hear(self) -> bytes:
        """Others: what rank 0 tells."""
        raise NotImplementedError

    def lead(self) -> None:
        """Rank 0: let all others make the next update."""

    def share(self, batch: Batch) -> Batch:
        """Rank 0: as `lead`, and give each rank its part of a joint batch; returns that of rank 0."""
        return batch

    def orders(self) -> Iterator[Order]:
        """Others: what rank 0 asks, until it ends this process."""
        raise NotImplementedError

    def take(self) -> Batch:
        """Others: this rank's part of what rank 0 shares."""
        raise NotImplementedError

    def own(self, joint: Tensor, dim: int = 0) -> Tensor:
        """This rank's rows of what all ranks have drawn alike, for the joint batch."""
        return joint

    def joint(self, own: Tensor) -> Tensor:
        """The rows of all ranks, given this rank's."""
        return own

    def pieces(self, batch: Batch) -> Sequence[Batch]:
        """Equal parts whose gradients are added up, so that a batch needs less memory."""
        return (batch,)

    def mixed_precision(self) -> AbstractContextManager[object]:
        """In which forward passes run."""
        return contextlib.nullcontext()

    def backward(self, loss: Tensor) -> None:
        """Add the gradients of a piece's mean loss."""
        loss.backward()

    def average(self, optimizer: torch.optim.Optimizer, losses: Sequence[Tensor]) -> Tensor:
        """Make the gradients of the parameters of `optimizer` those of the joint batch; returns its loss,
        without gradient. `losses`: of this rank's pieces."""
        return losses[0].detach()

    def mean(self, figures: Mapping[str, Callable[[], Tensor]]) -> dict[str, float]:
        """Rank 0: the figures of the joint batch, given those of this rank's part."""
        return {name: float(value()) for name, value in figures.items()}

    def raise_if_lost(self) -> None:
        """Raise RankError if another rank has ended."""

    def dismiss(self) -> None:
        """Rank 0: there are no more updates; all others end."""
