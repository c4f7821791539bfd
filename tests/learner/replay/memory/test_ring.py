"""Transitions are right under interleaving, endings, wrap-around and holes."""

import threading

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from learner.replay.memory.ring import Ring
from tests.support.columns import rollout_messages as messages
from tests.support.ring import check_ring


def filled(capacity, sent, every=1, device="cpu"):
    ring = Ring(capacity, 3, every * 2, device=device)
    for columns in sent:
        ring.add("a", columns)
    return ring


def test_every_transition_leads_to_the_next_observation_of_its_own_episode():
    ring = filled(1000, messages([[5, 3], [7], [4]], frames=60))
    start = np.flatnonzero(ring.rows.following != ring.rows.unknown)
    batch = ring.transitions(start, n_step=1, gamma=0.9, reward_offset=0.0)
    assert len(start) > 150
    np.testing.assert_array_equal(batch.next_observation[:, 0], batch.observation[:, 0] + 1)
    np.testing.assert_array_equal(batch.next_observation[:, 1], batch.observation[:, 1])


def test_a_truncated_decision_bootstraps_from_its_final_observation_and_a_terminated_one_does_not():
    for ends, discount in (("truncated", 0.9), ("terminated", 0.0)):
        ring = filled(100, messages([[3]], frames=3, ends=ends))
        last = np.array([2])
        batch = ring.transitions(last, n_step=1, gamma=0.9, reward_offset=0.0)
        assert batch.observation[0, 0] == 102.0
        assert batch.next_observation[0, 0] == 103.0
        assert batch.discount[0] == np.float32(discount)


def test_few_rows_among_many_empty_ones_are_drawn_alike():
    sent = messages([[5, 3]], frames=16)
    ring = Ring(100_000, 3, 2)
    for columns in sent:
        # As after a restart from a dataset whose oldest episodes had to go.
        ring.add("a", columns, 90_000 if ring.rows.position == 0 else None)
    linked = ring.observation[ring.rows.following[:-1] != ring.rows.unknown, 0]
    batch = ring.sample(4000, np.random.default_rng(0), n_step=1, gamma=0.9, reward_offset=0.0)
    drawn, counts = np.unique(batch.observation[:, 0], return_counts=True)
    assert drawn.tolist() == sorted(linked.tolist()) and len(drawn) > 10
    assert counts.min() > 0.7 * 4000 / len(drawn)


def test_n_step_returns_match_hand_computed_numbers():
    # Rewards of an episode's frames are 0, 1, 2, 3, 4; gamma 0.5.
    ring = filled(100, messages([[5]], frames=5))
    batch = ring.transitions(np.array([0, 1, 3]), n_step=3, gamma=0.5, reward_offset=0.0)
    np.testing.assert_allclose(batch.reward, [0 + 0.5 + 0.5, 1 + 1 + 0.75, 3 + 2])
    np.testing.assert_allclose(batch.discount, [0.125, 0.125, 0.25])
    np.testing.assert_allclose(batch.next_observation[:, 0], [103, 104, 105])
    ring = filled(100, messages([[5]], frames=5, ends="terminated"))
    batch = ring.transitions(np.array([1, 3]), n_step=3, gamma=0.5, reward_offset=-1.0)
    np.testing.assert_allclose(batch.reward, [0 + 0.5 * 1 + 0.25 * 2, 2 + 0.5 * 3])
    np.testing.assert_allclose(batch.discount, [0.125, 0.0])


def test_rewards_of_a_decision_are_summed():
    ring = filled(100, messages([[6]], frames=6, every=4), every=4)
    batch = ring.transitions(np.array([0, 1]), n_step=1, gamma=0.9, reward_offset=-1.0)
    np.testing.assert_allclose(batch.reward, [0 + 1 + 2 + 3 - 1, 4 + 5 - 1])


def test_a_decision_whose_successor_has_not_arrived_is_never_sampled():
    ring = filled(100, messages([[50]], frames=10))
    batch = ring.sample(2000, np.random.default_rng(0), n_step=1, gamma=0.9, reward_offset=0.0)
    assert set(batch.observation[:, 0].tolist()) == {100.0 + i for i in range(9)}


def test_a_restarted_actor_and_a_hole_link_nothing():
    first, second = messages([[50]], frames=10, rows_per_message=5)
    ring = Ring(100, 3, 2)
    ring.add("a", first)
    holed = {name: value.copy() for name, value in second.items()}
    holed["decision"] += 1
    ring.add("a", holed)
    assert ring.rows.following[4] == ring.rows.unknown and ring.succession.broken == 1
    check_ring(ring)


def test_an_empty_ring_says_so():
    with pytest.raises(ValueError, match="empty"):
        Ring(10, 3, 2).sample(1, np.random.default_rng(0), n_step=1, gamma=0.9, reward_offset=0.0)


def test_batches_are_views_of_two_selections_and_of_the_ring_s_own_type():
    ring = filled(1000, messages([[5, 3], [7]], frames=60))
    batch = ring.sample(32, np.random.default_rng(0), n_step=3, gamma=0.9, reward_offset=0.0)
    assert {field.dtype for field in batch} == {torch.float32}
    assert batch.residual.shape == batch.base_plan.shape == (32, 2)
    again = ring.sample(32, np.random.default_rng(0), n_step=3, gamma=0.9, reward_offset=0.0)
    assert all(torch.equal(one, other) for one, other in zip(batch, again, strict=True))


@pytest.mark.gpu
def test_a_ring_on_the_gpu_gives_the_batches_of_one_in_memory():
    sent = messages([[5, 3], [7], [4]], frames=60)
    draws = [
        filled(40, sent, device=device).sample(
            64, np.random.default_rng(0), n_step=3, gamma=0.9, reward_offset=0.0
        )
        for device in ("cpu", "cuda")
    ]
    assert {field.device.type for field in draws[1]} == {"cuda"}
    assert all(torch.equal(one, other.cpu()) for one, other in zip(*draws, strict=True))


def test_planned_bytes_are_there_from_the_start():
    ring = Ring(1000, 42, 28)
    assert ring.nbytes == 1000 * 98 * 4 + 1001 * 16
    small = filled(20, messages([[5]], frames=40))
    assert small.nbytes == Ring(20, 3, 2).nbytes


def test_rows_are_drawn_uniformly():
    ring = filled(64, messages([[9], [5], [7]], frames=60))
    batch = ring.sample(200_000, np.random.default_rng(1), n_step=1, gamma=0.9, reward_offset=0.0)
    rows = np.flatnonzero(ring.rows.following != ring.rows.unknown)
    _, seen = np.unique(batch.observation[:, :2].numpy(), axis=0, return_counts=True)
    expected = 200_000 / len(rows)
    assert len(seen) == len(rows)
    assert np.abs(seen - expected).max() < 6 * expected**0.5


def test_ring_may_be_sampled_while_it_grows():
    sent = messages([[9, 4], [5], [7]], frames=300, rows_per_message=3)
    ring = Ring(40, 3, 2)
    ring.add("a", sent[0])
    ring.add("a", sent[1])
    done, failures = threading.Event(), []

    def look():
        rng = np.random.default_rng(0)
        while not done.is_set() and not failures:
            batch = ring.sample(16, rng, n_step=3, gamma=0.5, reward_offset=0.0)
            ahead = batch.next_observation[:, 0] - batch.observation[:, 0]
            same = torch.equal(batch.next_observation[:, 1], batch.observation[:, 1])
            if not (same and bool(((ahead >= 1) & (ahead <= 3)).all())):
                failures.append((batch.observation, batch.next_observation))

    lookers = [threading.Thread(target=look) for _ in range(2)]
    for looker in lookers:
        looker.start()
    for _ in range(5):
        for columns in sent:
            # As a restarted actor: the same rows again, under another name.
            ring.add(f"a{ring.rows.position}", columns)
            check_ring(ring)
    done.set()
    for looker in lookers:
        looker.join()
    assert not failures


@settings(max_examples=30, deadline=None)
@given(
    capacity=st.integers(16, 60),
    lengths=st.lists(st.lists(st.integers(1, 9), min_size=1, max_size=3), min_size=1, max_size=5),
    n_step=st.integers(1, 5),
    terminated=st.booleans(),
)
def test_invariants_hold_under_wrap_around(capacity, lengths, n_step, terminated):
    ring = Ring(capacity, 3, 2)
    rng = np.random.default_rng(0)
    for columns in messages(lengths, 60, ends="terminated" if terminated else "truncated"):
        ring.add("a", columns)
        check_ring(ring)
        if (ring.rows.following != ring.rows.unknown).any():
            batch = ring.sample(16, rng, n_step=n_step, gamma=0.5, reward_offset=0.0)
            ahead = batch.next_observation[:, 0] - batch.observation[:, 0]
            assert bool(((ahead >= 1) & (ahead <= n_step)).all())
            np.testing.assert_array_equal(batch.next_observation[:, 1], batch.observation[:, 1])
