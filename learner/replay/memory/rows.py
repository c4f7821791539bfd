"""Rows of a ring: preallocated, the oldest are overwritten first."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Slots = NDArray[np.int64]
"""Slots, or positions, of rows."""
Floats = NDArray[np.float32]
Flags = NDArray[np.bool_]

# Side by side: most of a draw's time is waiting for memory, once per row instead of three times.
FACTS = np.dtype([("following", np.int64), ("reward", np.float32), ("terminated", np.bool_)], align=True)


class Rows:
    """Row `position` is in slot `position % capacity`. Not thread-safe.

    All that an update reads of a row is contiguous in `block`, which may be on a GPU. `following` (the slot
    of the row's successor, or `unknown`), `reward` and `terminated` stay on the host.

    `width`: of `block`."""

    def __init__(self, capacity: int, width: int, device: torch.device) -> None:
        self.capacity = capacity
        self.position = 0
        """Of the next row, which is how many were ever written."""
        self.changes = 0
        """Counts what changes which rows there are, or which follow others."""
        self.block = _zeros(capacity, width, device)
        # One more slot, which means "no row": it follows itself and is worth nothing.
        self.facts: NDArray[np.void] = np.zeros(capacity + 1, FACTS)
        self.following: Slots = self.facts["following"]
        self.reward: Floats = self.facts["reward"]
        self.terminated: Flags = self.facts["terminated"]
        self.following[:] = self.unknown
        self._preceding: Slots = np.full(capacity, self.unknown)

    def __len__(self) -> int:
        return min(self.position, self.capacity)

    @property
    def unknown(self) -> int:
        """What `following` says of a row without a successor."""
        return self.capacity

    @property
    def oldest(self) -> int:
        """Rows at positions below were overwritten."""
        return self.position - self.capacity

    def positions(self, slots: Slots) -> Slots:
        """Of the rows that are in `slots`."""
        return self.position - 1 - (self.position - 1 - slots) % self.capacity

    @property
    def nbytes(self) -> int:
        """All of them allocated at the start."""
        return self.block.numel() * self.block.element_size() + self.facts.nbytes

    @property
    def linked(self) -> Slots:
        """Slots of rows that have a successor."""
        return np.flatnonzero(self.following[: len(self)] != self.unknown)

    def write(self, first: int, block: Floats, reward: Floats, terminated: Flags) -> None:
        """Rows without successors at positions from `first` on, in at most two pieces."""
        self.position = max(self.position, first + len(block))
        self.changes += 1
        skipped = max(0, self.oldest - first)
        at = (first + skipped) % self.capacity
        rows = torch.as_tensor(block)
        while skipped < len(block):
            count = min(len(block) - skipped, self.capacity - at)
            piece, slots = slice(skipped, skipped + count), slice(at, at + count)
            self.block[slots] = rows[piece]
            self.reward[slots], self.terminated[slots] = reward[piece], terminated[piece]
            self.following[slots] = self.unknown
            skipped, at = skipped + count, 0

    def put(self, positions: Slots, block: Floats, reward: Floats, terminated: Flags) -> None:
        """Rows at `positions`, in any order; overwritten ones are left out."""
        kept = positions >= self.oldest
        slots = positions[kept] % self.capacity
        device = self.block.device
        self.block[torch.as_tensor(slots).to(device)] = torch.as_tensor(block[kept]).to(device)
        self.reward[slots], self.terminated[slots] = reward[kept], terminated[kept]

    def link(self, positions: Slots, successors: Slots) -> None:
        """Make rows follow others, both by position, unless either was overwritten."""
        self.changes += 1
        kept = (positions >= self.oldest) & (successors >= self.oldest)
        before, after = positions[kept] % self.capacity, successors[kept] % self.capacity
        self.following[before] = after
        self._preceding[after] = before

    def before(self, slots: Slots) -> Slots:
        """The slots of the rows that these follow; of one that follows none, or whose predecessor was
        overwritten, its own."""
        preceding = self._preceding[slots]
        return np.where(self.following[preceding] == slots, preceding, slots)


def _zeros(rows: int, width: int, device: torch.device) -> Tensor:
    """Zeros (rows, width) as float32, in memory that the process already has.

    Numpy asks the kernel for huge pages: with small ones, each draw from gigabytes of rows waits for the page
    table. All pages are touched here, so that no message waits for the kernel later, and a machine without
    enough memory fails at the start.
    """
    if device.type != "cpu":
        return torch.zeros((rows, width), device=device)
    block = np.zeros((rows, width), np.float32)
    block.fill(0)
    return torch.as_tensor(block)
