"""From the rows of a ring to transitions over up to n decisions."""

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from learner.replay.memory.rows import Floats, Slots


class TransitionBatch(NamedTuple):
    """Transitions over up to n decisions; B rows, all float32, on the ring's device. Observations have the
    base's features behind them, if the ring keeps some.

    The loss sees `discount`: gamma^m, and 0 where the episode terminated within the m decisions.
    A truncated episode keeps its discount and bootstraps from its true final observation.
    """

    observation: Tensor
    base_plan: Tensor
    residual: Tensor
    reward: Tensor
    discount: Tensor
    next_observation: Tensor
    next_base_plan: Tensor


class Ends(NamedTuple):
    """Of B transitions: where they end and what they are worth."""

    slots: Slots
    """i8 (B,)"""
    reward: Floats
    """f4 (B,), the discounted sum."""
    discount: Floats
    """f4 (B,), gamma^m after m decisions, 0 where the episode terminated within them."""


def find_ends(
    facts: NDArray[np.void], start: Slots, *, n_step: int, gamma: float, reward_offset: float
) -> Ends:
    """Where transitions over up to `n_step` decisions end; a chain ends early where there is no successor.

    Args:
        facts: `rows.FACTS` (capacity + 1,); the last one means "no row" and follows itself.
        start: i8 (B,).
    """
    powers = np.power(np.float32(gamma), np.arange(n_step + 1, dtype=np.float32))
    slots, discount = start, np.ones(len(start), np.float32)
    total = np.zeros(len(start))
    for before, power in zip(powers[:-1].astype(np.float64), powers[1:], strict=True):
        now = facts[slots]
        linked = now["following"] != len(facts) - 1
        total += np.where(linked, before * (now["reward"] + np.float32(reward_offset)), 0.0)
        discount = np.where(linked, power * ~now["terminated"], discount)
        slots = np.where(linked, now["following"], slots)
    return Ends(slots, total.astype(np.float32), discount)


def gather(block: Tensor, start: Slots, end: Slots, head: int) -> tuple[Tensor, Tensor]:
    """The rows at slots `start`, f4 (B, D), and the first `head` numbers of those at `end`, f4 (B, head)."""
    first, last = (torch.as_tensor(slots).to(block.device, non_blocking=True) for slots in (start, end))
    return block.index_select(0, first), block[:, :head].index_select(0, last)
