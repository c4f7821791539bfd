"""From the rows of a ring to transitions over up to n decisions; native (`transitions.cpp`) where it may be.

Both ways give the same numbers to the bit. A draw is mostly waiting for memory: natively, the rows that come
next are asked for while others are copied, and a chain of successors costs no operator a step.
"""

from __future__ import annotations

import ctypes
from ctypes import c_float, c_int32, c_int64, c_void_p
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from actor.policy.native.build import compiled_if_possible


class TransitionBatch(NamedTuple):
    """Transitions over up to n decisions; B rows, all float32, on the ring's device.

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

    slots: np.ndarray
    """i8 (B,)"""
    reward: np.ndarray
    """f4 (B,), the discounted sum."""
    discount: np.ndarray
    """f4 (B,), gamma^m after m decisions, 0 where the episode terminated within them."""


@cache
def library() -> ctypes.CDLL | None:
    """The compiled `transitions.cpp`; None, and one warning, where it is not to be had."""
    source = Path(__file__).with_name("transitions.cpp")
    loaded = compiled_if_possible("the replay is sampled with numpy", source)
    if loaded is None:
        return None
    data = c_void_p
    loaded.transition_ends.argtypes = [data, c_int64, data, c_int64, c_int32, data, c_float, data, data, data]
    loaded.transition_rows.argtypes = [data, c_int64, c_int64, data, data, c_int64, data, data]
    return loaded


def find_ends(
    facts: np.ndarray, start: np.ndarray, *, n_step: int, gamma: float, reward_offset: float
) -> Ends:
    """Where transitions over up to `n_step` decisions end; a chain ends early where there is no successor.

    Args:
        facts: `FACTS` (capacity + 1,); the last one means "no row" and follows itself.
        start: i8 (B,).
    """
    powers = np.power(np.float32(gamma), np.arange(n_step + 1, dtype=np.float32))
    native = library()
    if native is None:
        return _ends_with_numpy(facts, start, powers, np.float32(reward_offset))
    start = np.ascontiguousarray(start, np.int64)
    ends = Ends(np.empty_like(start), *np.empty((2, len(start)), np.float32))
    native.transition_ends(
        _address(facts), len(facts) - 1, _address(start), len(start), n_step, _address(powers), reward_offset,
        *map(_address, ends),
    )  # fmt: skip
    return ends


def gather(rows: Tensor, start: np.ndarray, end: np.ndarray, head: int) -> tuple[Tensor, Tensor]:
    """The rows at slots `start`, f4 (B, D), and the first `head` numbers of those at `end`, f4 (B, head)."""
    native = library() if rows.device.type == "cpu" else None
    if native is None:
        slots = (torch.from_numpy(at).to(rows.device, non_blocking=True) for at in (start, end))
        return rows.index_select(0, next(slots)), rows[:, :head].index_select(0, next(slots))
    count, width = len(start), rows.shape[1]
    start = np.ascontiguousarray(start, np.int64)
    before, after = (torch.empty((count, numbers), dtype=torch.float32) for numbers in (width, head))
    native.transition_rows(
        rows.data_ptr(), width, head, _address(start), _address(end), count,
        before.data_ptr(), after.data_ptr(),
    )  # fmt: skip
    return before, after


def _ends_with_numpy(facts: np.ndarray, start: np.ndarray, powers: np.ndarray, offset: np.float32) -> Ends:
    slots, discount = start, np.ones(len(start), np.float32)
    # Products of two floats are exact in double, so that native code has the same sums.
    sums = np.zeros(len(start))
    for before, power in zip(powers[:-1].astype(np.float64), powers[1:], strict=True):
        now = facts[slots]
        there = now["following"] != len(facts) - 1
        sums += np.where(there, before * (now["reward"] + offset), 0.0)
        discount = np.where(there, power * ~now["terminated"], discount)
        slots = np.where(there, now["following"], slots)
    return Ends(slots, sums.astype(np.float32), discount)


def _address(values: np.ndarray) -> int:
    return values.__array_interface__["data"][0]
