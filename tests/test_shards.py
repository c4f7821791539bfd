"""How many files a dataset has, and how often a frame is written."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from learner.replay.shards import FULL_BYTES, MOST_SMALL, Budget, Shard, newest_to_merge, oldest_to_drop

MB = 2**20


def grow(added: list[int]) -> tuple[list[int], int]:
    """Sizes after so many commits, and the bytes written for them."""
    sizes, written = [], 0
    for size in added:
        sizes.append(size)
        written += size
        while count := newest_to_merge(sizes):
            assert count >= 2
            sizes[-count:] = [sum(sizes[-count:])]
            written += sizes[-1]
    return sizes, written


@given(st.integers(1, 90), st.integers(1, 400))
def test_shards_stay_few_and_frames_are_hardly_rewritten(megabytes: int, commits: int) -> None:
    sizes, written = grow([megabytes * MB] * commits)
    assert sum(sizes) == megabytes * MB * commits
    assert max(sizes) <= FULL_BYTES
    assert len(sizes) <= sum(sizes) / (FULL_BYTES / 2) + MOST_SMALL
    assert written <= 3 * sum(sizes)


@given(st.lists(st.integers(1, FULL_BYTES), max_size=300))
def test_any_sizes_are_kept_in_order_and_below_a_full_file(added: list[int]) -> None:
    sizes, _ = grow(added)
    assert sum(sizes) == sum(added)
    assert max(sizes, default=0) <= FULL_BYTES
    while count := newest_to_merge(sizes, last=True):
        sizes[-count:] = [sum(sizes[-count:])]
    assert len(sizes) < 2 or sizes[-1] + sizes[-2] > FULL_BYTES


def test_tiny_shards_of_a_day_are_few_files() -> None:
    sizes, _ = grow([10_000] * 17_280)
    assert len(sizes) <= MOST_SMALL + 4


def test_budget_keeps_the_newest() -> None:
    shards = [Shard(n, 10, 1000, 5 * MB) for n in range(10)]
    assert oldest_to_drop(shards, Budget()) == 0
    assert oldest_to_drop(shards, Budget(max_frames=10_000)) == 0
    assert oldest_to_drop(shards, Budget(max_frames=9_999)) == 3
    assert oldest_to_drop(shards, Budget(max_bytes=20 * MB)) == 7
    assert oldest_to_drop(shards, Budget(max_bytes=1)) == 9
