"""Bases whose weights can be replaced while a run goes on."""

from collections.abc import Mapping
from typing import Protocol, runtime_checkable

from torch import Tensor

from actor.policy.contract import BasePolicy, CheckpointError


@runtime_checkable
class TrainableBase(BasePolicy, Protocol):
    """A base that another can be made of."""

    def weights(self) -> Mapping[str, Tensor]:
        """What it plays with, not to be changed."""
        ...

    def with_weights(self, weights: Mapping[str, Tensor]) -> "TrainableBase":
        """The same base with other weights, which are copied.
        Raises CheckpointError: they do not fit; names one."""
        ...


def require_trainable(base: BasePolicy, path: str) -> TrainableBase:
    """Raise CheckpointError if the base has no weights that could be trained."""
    if isinstance(base, TrainableBase):
        return base
    raise CheckpointError(f"base {path} has no weights to train: choose base=diffusion or base=lerobot")


def most_bytes(base: BasePolicy) -> int:
    """Of the content of another version of this base; 0: there is none."""
    if not isinstance(base, TrainableBase):
        return 0
    # Twice, since weights may be trained with higher precision; and room for their names.
    return 2 * sum(value.nbytes for value in base.weights().values()) + (1 << 20)
