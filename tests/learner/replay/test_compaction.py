"""How many files a dataset has, and how often a frame is written."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from learner.replay.dataset.compaction import (
    FULL_BYTES,
    MANY_SMALL,
    SMALL_BYTES,
    Budget,
    Shard,
    commit_delay_factor,
    groups_to_merge,
    oldest_to_drop,
)

MB = 2**20


@given(st.lists(st.integers(1, FULL_BYTES) | st.integers(1, SMALL_BYTES), max_size=300))
def test_groups_hold_every_shard_once_and_fit_into_a_full_file(sizes: list[int]) -> None:
    groups = groups_to_merge(sizes)
    assert sum(groups) == len(sizes) and min(groups, default=1) >= 1
    ends = np.cumsum(groups)
    merged = [sum(sizes[end - count : end]) for end, count in zip(ends, groups, strict=True)]
    assert max(merged, default=0) <= FULL_BYTES
    for end, before in zip(ends[:-1], merged, strict=False):
        # What begins a group would not fit into the one before, or is large, or follows on a large one.
        assert before + sizes[end] > FULL_BYTES or max(sizes[end - 1], sizes[end]) >= SMALL_BYTES


def test_tiny_shards_become_one_and_large_ones_are_not_written_again() -> None:
    assert groups_to_merge([10_000] * 500) == [500]
    assert groups_to_merge([60 * MB] * 5) == [1] * 5
    assert groups_to_merge([MB, MB, 60 * MB, MB, 99 * MB, 12 * MB]) == [2, 1, 1, 1, 1]
    assert groups_to_merge([12 * MB] * 10) == [8, 2]
    assert groups_to_merge([]) == []


def test_a_day_of_commits_every_five_seconds_is_some_three_thousand_files() -> None:
    seconds, sizes = 0.0, []
    while seconds < 24 * 3600:
        seconds += 5 * commit_delay_factor(sizes)
        sizes.append(10_000)
    assert len(sizes) < 3_100
    assert 5 * commit_delay_factor(sizes) < 60
    assert commit_delay_factor([10_000] * MANY_SMALL) == commit_delay_factor([SMALL_BYTES] * 10_000) == 1


def test_budget_keeps_the_newest() -> None:
    shards = [Shard(n, 10, 1000, size=MB, disk=5 * MB) for n in range(10)]
    assert oldest_to_drop(shards, Budget()) == 0
    assert oldest_to_drop(shards, Budget(max_frames=10_000)) == 0
    assert oldest_to_drop(shards, Budget(max_frames=9_999)) == 3
    assert oldest_to_drop(shards, Budget(max_bytes=20 * MB)) == 7
    assert oldest_to_drop(shards, Budget(max_bytes=1)) == 9
