"""Which shards of a dataset to merge, and which to drop. Opens no file.

A shard is what one commit wrote. Small ones are merged as they pile up, always the newest, so that
most frames are rewritten once and a dataset of days has a file for each fifty megabytes or more.
Rarely, since a reader that has just listed the files misses those that were merged away.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

FULL_BYTES = 100 * 2**20
# So many small shards become one, or fewer that fill one.
MOST_SMALL = 64
_SMALL_BYTES = FULL_BYTES // 2
# What is kept of a budget that was exceeded: dropping rewrites all that stays, so it must be rare.
KEPT_SHARE = 0.75


@dataclass(frozen=True)
class Shard:
    """One file of frames with its files of episodes and of what the frames do not say."""

    number: int
    """Of its files; never used again in this dataset, so that readers can trust a name."""
    episodes: int
    frames: int
    size: int
    """Bytes of frames."""


@dataclass(frozen=True)
class Budget:
    """How much of the newest experience is kept; None keeps everything."""

    max_bytes: float | None = None
    max_frames: int | None = None

    def __post_init__(self) -> None:
        for name in ("max_bytes", "max_frames"):
            value = getattr(self, name)
            if value is not None and value <= 0:
                raise ValueError(f"{name} must be above 0, got {value}")

    def holds(self, shards: Sequence[Shard], share: float = 1.0) -> bool:
        """Whether all of `shards` fit into `share` of the budget."""
        frames, size = sum(shard.frames for shard in shards), sum(shard.size for shard in shards)
        return not (
            (self.max_frames is not None and frames > share * self.max_frames)
            or (self.max_bytes is not None and size > share * self.max_bytes)
        )


def newest_to_merge(sizes: Sequence[int], *, last: bool = False) -> int:
    """How many of the newest shards to merge into one: 0, or at least two.

    Args:
        sizes: bytes, oldest first.
        last: nothing will be added: merge whatever fits into a full shard.
    """
    count = total = 0
    filled = False
    for size in reversed(sizes):
        if size >= _SMALL_BYTES and not last:
            break
        filled = total + size > FULL_BYTES
        if filled:
            break
        total += size
        count += 1
    due = last or filled or count >= MOST_SMALL
    return count if due and count > 1 else 0


def oldest_to_drop(shards: Sequence[Shard], budget: Budget) -> int:
    """How many of the oldest shards exceed the budget; the newest always stays."""
    if budget.holds(shards):
        return 0
    count = 0
    while count < len(shards) - 1 and not budget.holds(shards[count:], KEPT_SHARE):
        count += 1
    return count
