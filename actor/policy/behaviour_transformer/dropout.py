"""Dropout of a frozen network whose random numbers come with the rows."""

from collections.abc import Callable

import torch
from torch import Tensor

from actor.policy.noise import Keys, uniform

Dropout = Callable[[Tensor], Tensor]
"""Of some numbers (B, ...), those that are left, scaled up, and zeros."""


def none_dropped(values: Tensor) -> Tensor:
    """All of them."""
    return values


def kept_numbers(keys: Keys, count: int, rate: float) -> Tensor:
    """(B, count) bool: of each row, the numbers that are left; each is dropped with probability `rate`."""
    return torch.from_numpy(uniform(keys, count) >= rate)


class DropoutOfRows:
    """Takes, at each use, the next part of each row's numbers that are left.

    Args:
        kept: (B, count) of `kept_numbers`; `count` is that of all uses together.
    """

    def __init__(self, kept: Tensor, rate: float) -> None:
        self._kept, self._used = kept, 0
        self._factor = 1 / (1 - rate)

    def __call__(self, values: Tensor) -> Tensor:
        first, self._used = self._used, self._used + values[0].numel()
        part = self._kept[:, first : self._used].view_as(values)
        return values * part * self._factor
