"""Which shards of a dataset to merge, and which to drop. Opens no file.

A shard is what one commit wrote. Small ones are merged as they pile up, always the newest, so that
each frame is rewritten a few times at most and a dataset of days has a file for each dozen megabytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

FULL_BYTES = 100 * 2**20
# So many small shards of one size class become one of the next.
FAN_IN = 8
# Upper bounds of the size classes; beyond the last one a shard stays as it is until the end.
_CLASSES = (FULL_BYTES // FAN_IN**2, FULL_BYTES // FAN_IN)
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
    if last:
        count = _newest_below(sizes, FULL_BYTES)
        return count if count > 1 else 0
    for bound in _CLASSES:
        count = _newest_below(sizes, bound)
        if count >= FAN_IN:
            return count
    return 0


def _newest_below(sizes: Sequence[int], bound: int) -> int:
    """How many of the newest are smaller than `bound` each, and no more than a full shard together."""
    count = total = 0
    for size in reversed(sizes):
        total += size
        if size >= bound or total > FULL_BYTES:
            break
        count += 1
    return count


def oldest_to_drop(shards: Sequence[Shard], budget: Budget) -> int:
    """How many of the oldest shards exceed the budget; the newest always stays."""
    if budget.holds(shards):
        return 0
    count = 0
    while count < len(shards) - 1 and not budget.holds(shards[count:], KEPT_SHARE):
        count += 1
    return count
