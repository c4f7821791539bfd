"""When a dataset gets its next shard, which ones are merged, and which are dropped. Opens no file.

A shard is what one commit wrote. While a dataset grows none is merged away, since LeRobot's reader first
lists all files and then opens one after the other; instead, many small shards make the next ones come
later. When the dataset is complete, small neighbours become full ones.
"""

from collections.abc import Sequence
from dataclasses import dataclass

FULL_BYTES = 100 * 2**20
# With more small shards than this, commits come less often.
MANY_SMALL = 256
SMALL_BYTES = FULL_BYTES // 8
# Share of a budget that is kept when it was exceeded: dropping rewrites all that stays, so it must be rare.
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
    disk: int
    """Bytes of all its files, videos too."""


@dataclass(frozen=True)
class Budget:
    """How much of the newest experience is kept; None keeps everything."""

    max_bytes: float | None = None
    """Of all the shards' files. While the oldest are dropped, the disk holds the remaining ones twice."""
    max_frames: int | None = None

    def __post_init__(self) -> None:
        for name in ("max_bytes", "max_frames"):
            value = getattr(self, name)
            if value is not None and value <= 0:
                raise ValueError(f"{name} must be above 0, got {value}")

    def holds(self, shards: Sequence[Shard], share: float = 1.0) -> bool:
        """Whether all of `shards` fit into `share` of the budget."""
        frames, size = sum(shard.frames for shard in shards), sum(shard.disk for shard in shards)
        return not (
            (self.max_frames is not None and frames > share * self.max_frames)
            or (self.max_bytes is not None and size > share * self.max_bytes)
        )


def commit_delay_factor(sizes: Sequence[int]) -> float:
    """How many times longer than usual to wait for the next commit, at least 1.

    With n small shards the wait is n / MANY_SMALL, so that their number grows with the square root of the
    time: some 3,000 after a day of commits that could come every five seconds.

    `sizes`: bytes of the shards that are there."""
    return max(1.0, sum(size < SMALL_BYTES for size in sizes) / MANY_SMALL)


def groups_to_merge(sizes: Sequence[int]) -> list[int]:
    """How many neighbours each become one shard, oldest first; 1 leaves a shard as it is.
    `sizes`: bytes, oldest first."""
    groups: list[int] = []
    total = FULL_BYTES
    for size in sizes:
        if size >= SMALL_BYTES or total + size > FULL_BYTES:
            groups.append(0)
            # Nothing joins one that is large enough already.
            total = 0 if size < SMALL_BYTES else FULL_BYTES
        groups[-1] += 1
        total += size
    return groups


def oldest_to_drop(shards: Sequence[Shard], budget: Budget) -> int:
    """How many of the oldest shards exceed the budget; the newest always stays."""
    if budget.holds(shards):
        return 0
    count = 0
    while count < len(shards) - 1 and not budget.holds(shards[count:], KEPT_SHARE):
        count += 1
    return count
