"""The ring is rebuilt from dataset, sidecars and later rows, bit for bit."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from learner.replay.dataset.format.spec import DatasetError
from learner.replay.dataset.store import LeRobotStore
from learner.replay.memory.ring import Ring
from learner.replay.restore.ring import restore_ring
from learner.replay.tools.verify import verify
from tests.support.identifiable import ACT, OBS, K, in_messages, make_stream, pack
from tests.support.ring import check_ring


def make_ring(capacity: int) -> Ring:
    return Ring(capacity, OBS, K * ACT)


def make_store(folder: Path) -> LeRobotStore:
    return LeRobotStore(
        folder, repo_id="tests/replay", observation_dim=OBS, action_dim=ACT, fps=20, robot_type="panda",
        task="PickCube-v1", queue_episodes=100, flush_s=0.01,
    )  # fmt: skip


def received(lengths: list[int], size: int):
    """Messages of two actors in turn: (actor, session, columns)."""
    parts = [
        [(actor, 5, columns) for columns in in_messages(make_stream(actor, first, lengths, 3)[1], size)]
        for actor, first in (("peg-a", 0), ("peg-b", 50))
    ]
    return [message for pair in zip(*parts, strict=True) for message in pair]


def assert_same(one: Ring, other: Ring) -> None:
    assert one.rows.position == other.rows.position
    for name in ("following", "reward", "terminated"):
        np.testing.assert_array_equal(getattr(one.rows, name), getattr(other.rows, name), err_msg=name)
    assert torch.equal(one.rows.block, other.rows.block)
    assert one.succession._open == other.succession._open
    if (one.rows.following == one.rows.unknown).all():
        return  # nothing to draw from: every decision waits for its successor
    draws = [
        ring.sample(64, np.random.default_rng(3), n_step=3, gamma=0.9, reward_offset=-1.0)
        for ring in (one, other)
    ]
    assert all(torch.equal(a, b) for a, b in zip(*draws, strict=True))


@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    capacity=st.integers(40, 200),
    lengths=st.lists(st.integers(1, 23), min_size=4, max_size=12),
    size=st.integers(1, 9),
    cut=st.floats(0.2, 1.0),
    seed=st.integers(0, 10**6),
)
def test_ring_after_a_crash_is_the_ring_without_one(
    capacity: int, lengths: list[int], size: int, cut: float, seed: int, tmp_path: Path
) -> None:
    folder = tmp_path / f"{seed}-{len(list(tmp_path.iterdir()))}"
    stream = received(lengths, size)
    before = stream[: max(2, round(cut * len(stream)))]
    ring, journal = make_ring(capacity), []
    with make_store(folder) as store:
        for actor, session, columns in before:
            position = ring.add(actor, columns)
            store.add(actor, session, columns, position)
            journal.append((actor, session, columns, position))
    # The process is gone; the journal goes back to the first row that is not on disk.
    again = make_ring(capacity)
    if folder.exists():
        restore_ring(folder, again)
    committed = store.committed()

    def needed(actor, session, columns):
        lanes = zip(columns["sub_env"].tolist(), columns["episode"].tolist(), strict=True)
        return any(committed.get((actor, session, lane), 0) <= number for lane, number in lanes)

    first = next((i for i, message in enumerate(journal) if needed(*message[:3])), len(journal))
    for actor, _, columns, position in journal[first:]:
        again.add(actor, columns, position)
    check_ring(again)
    assert_same(again, ring)


def test_ring_of_a_finished_session_comes_back_from_the_dataset_alone(tmp_path: Path) -> None:
    ring = make_ring(500)
    with make_store(tmp_path / "replay") as store:
        stream = received([9, 4, 17, 2, 12], 4)
        for actor, session, columns in stream[:-3]:
            store.add(actor, session, columns, ring.add(actor, columns))
        for actor in ("peg-a", "peg-b"):
            store.end_session(actor, 5)
    again = make_ring(500)
    assert restore_ring(tmp_path / "replay", again) == len(ring)
    again.succession = ring.succession
    assert_same(again, ring)


def test_episode_without_a_final_observation_never_bootstraps(tmp_path: Path) -> None:
    with make_store(tmp_path / "replay") as store:
        (_, rows) = make_stream("peg", 0, [30], 1)
        for columns in in_messages(rows[:5], 2):
            store.add("peg", 5, columns)
        store.end_session("peg", 5)
    ring = make_ring(100)
    assert restore_ring(tmp_path / "replay", ring) == 5
    assert ring.rows.following[:5].tolist() == [1, 2, 3, 4, ring.rows.unknown]
    batch = ring.sample(200, np.random.default_rng(0), n_step=1, gamma=0.9, reward_offset=0.0)
    assert set(batch.observation[:, 0].tolist()) == {0.0, 4.0, 8.0, 12.0}


def test_a_replay_of_the_release_before_opens_continues_and_fills_a_ring(tmp_path: Path) -> None:
    folder = tmp_path / "replay"
    shutil.copytree(Path("tests/data/replay_of_the_release_before"), folder)
    assert verify(folder) == []
    ring = make_ring(100)
    assert restore_ring(folder, ring) == 8
    assert ring.rows.block[:8, 0].tolist() == [0, 4, 6, 1000, 1003, 2000, 2004, 2005]
    truths, _ = make_stream("peg", 0, [6, 3, 5, 7], 1)
    with make_store(folder) as store:
        assert store.committed() == {("peg", 0, 0): 3}
        for truth in truths:
            store.add("peg", 0, pack(truth.rows))
    assert (store.episodes, store.frames) == (4, 21)
    assert verify(folder) == []


def test_ring_that_is_smaller_keeps_the_newest_rows(tmp_path: Path) -> None:
    small, large = make_ring(60), make_ring(500)
    with make_store(tmp_path / "replay") as store:
        for actor, session, columns in received([20, 8, 30, 15, 12, 22], 5):
            small.add(actor, columns)
            store.add(actor, session, columns, large.add(actor, columns))
    assert large.rows.position > 60
    again = make_ring(60)
    assert restore_ring(tmp_path / "replay", again) == 60
    assert_same(again, small)


@pytest.mark.parametrize(("observation", "numbers"), [(OBS + 1, K * ACT), (OBS, 2 * K * ACT)])
def test_rows_of_other_sizes_are_refused_in_one_line_that_names_both(
    observation: int, numbers: int, tmp_path: Path
) -> None:
    with make_store(tmp_path / "replay") as store:
        for actor, session, columns in received([9, 4], 4):
            store.add(actor, session, columns)
    ring = Ring(100, observation, numbers)
    both = f"dimension {OBS} and residual dimension {K * ACT}, this run has {observation} and {numbers}: "
    with pytest.raises(DatasetError, match=f"{both}.*residual_every={K}") as refused:
        restore_ring(tmp_path / "replay", ring)
    assert "\n" not in str(refused.value)
    assert len(ring) == 0
