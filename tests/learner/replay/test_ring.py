"""Transitions are right under interleaving, endings, wrap-around and holes."""

from __future__ import annotations

import threading

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from learner.replay.memory.sum_tree import SumTree

from learner.replay.memory.ring import Ring
from tests.support.fakes import CountingBase, ScriptedEnvironment
from tests.support.helpers import make_config, make_policy, make_rollout

CONFIG = make_config("algo.residual_every=1")


def messages(lengths, frames, every=1, ends="truncated", rows_per_message=5):
    policy = make_policy(CountingBase(), CONFIG, len(lengths), every)
    rollout = make_rollout(ScriptedEnvironment(lengths, ends), policy, every)
    sent = []
    for _ in range(frames):
        rollout.step()
        if rollout.rows >= rows_per_message:
            sent.append(rollout.take())
    if rollout.rows:
        sent.append(rollout.take())
    return sent


def filled(capacity, sent, every=1, device="cpu"):
    ring = Ring(capacity, 3, every * 2, device=device)
    for columns in sent:
        ring.add("a", columns)
    return ring


def test_every_transition_leads_to_the_next_observation_of_its_own_episode():
    ring = filled(1000, messages([[5, 3], [7], [4]], frames=60))
    start = np.flatnonzero(ring.following != ring.unknown)
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
        ring.add("a", columns, 90_000 if ring.position == 0 else None)
    linked = ring.observation[ring.following[:-1] != ring.unknown, 0]
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
    assert ring.following[4] == ring.unknown and ring.unlinked == 1
    ring.check_valid()


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
    rows = np.flatnonzero(ring.following != ring.unknown)
    _, seen = np.unique(batch.observation[:, :2].numpy(), axis=0, return_counts=True)
    expected = 200_000 / len(rows)
    assert len(seen) == len(rows)
    assert np.abs(seen - expected).max() < 6 * expected**0.5


def prioritised(capacity, sent):
    ring = Ring(capacity, 3, 2, prioritised=True)
    for columns in sent:
        ring.add("a", columns)
        ring.check_valid()
    return ring


def draw(ring, rows=4000, beta=1.0, seed=0):
    rng = np.random.default_rng(seed)
    return ring.sample_prioritised(rows, rng, beta=beta, n_step=1, gamma=0.9, reward_offset=0.0)


def test_draws_follow_the_priorities_and_weights_make_up_for_them():
    ring = prioritised(64, messages([[9], [5], [7]], frames=10))
    rows = np.flatnonzero(ring.following != ring.unknown)
    wanted = 1.0 + np.arange(len(rows))
    ring.set_priorities(rows, wanted)
    drawn = draw(ring, 100_000)
    seen = np.bincount(drawn.positions, minlength=64)[rows]
    np.testing.assert_allclose(seen / 100_000, wanted / wanted.sum(), atol=0.002)
    # Each row's importance, drawn as often as it is, is the same for all.
    weight = dict(zip(drawn.positions.tolist(), drawn.weights.tolist(), strict=True))
    shares = [weight[row] * priority for row, priority in zip(rows, wanted, strict=True)]
    np.testing.assert_allclose(shares, shares[0], rtol=1e-5)
    smallest = len(ring) / wanted.sum()
    assert float(drawn.weights.max()) == pytest.approx(1 / smallest)
    np.testing.assert_array_equal(drawn.batch.next_observation[:, 0], drawn.batch.observation[:, 0] + 1)


def test_new_rows_get_the_highest_priority_and_overwritten_ones_are_left_alone():
    sent = messages([[9], [5]], frames=40)
    ring = prioritised(24, sent[:2])
    drawn = draw(ring, 4)
    ring.set_priorities(drawn.positions, np.full(4, 7.0))
    for columns in sent[2:]:
        ring.add("a", columns)
        ring.check_valid()
    assert (drawn.positions < ring.position - ring.capacity).all()
    before = ring._priorities.total
    ring.set_priorities(drawn.positions, np.full(4, 1000.0))
    assert ring._priorities.total == before == 7.0 * (ring.following != ring.unknown).sum()


def test_priorities_must_be_asked_for_and_be_numbers():
    ring = filled(100, messages([[9]], frames=20))
    with pytest.raises(ValueError, match="make it with prioritised=True"):
        draw(ring)
    ring = Ring(100, 3, 2, prioritised=True)
    with pytest.raises(ValueError, match="holds no transition yet"):
        draw(ring)
    with pytest.raises(ValueError, match="finite and above 0"):
        ring.set_priorities(np.array([0]), np.array([np.nan]))


# Half of the smallest number of all is none.
@given(st.lists(st.floats(0, 1e6, allow_subnormal=False), min_size=1, max_size=70), st.integers(0, 2**32 - 1))
def test_tree_finds_slots_in_proportion(weights, seed):
    tree = SumTree(len(weights))
    rng = np.random.default_rng(seed)
    tree.set(rng.integers(len(weights), size=20), rng.random(20))
    tree.set(np.arange(len(weights)), np.array(weights))
    assert tree.total == pytest.approx(sum(weights))
    if tree.total > 0:
        found = tree.find(rng.random(50) * tree.total)
        assert found.max() < len(weights) and (np.array(weights)[found] > 0).all()
        sums = np.cumsum(weights)
        middles = sums - np.array(weights) / 2
        wide = np.array(weights) > 1e-6 * tree.total
        np.testing.assert_array_equal(tree.find(middles[wide]), np.flatnonzero(wide))


def test_ring_may_be_sampled_while_it_grows():
    sent = messages([[9, 4], [5], [7]], frames=300, rows_per_message=3)
    ring = Ring(40, 3, 2, prioritised=True)
    ring.add("a", sent[0])
    ring.add("a", sent[1])
    done, failures = threading.Event(), []

    def look():
        rng = np.random.default_rng(0)
        while not done.is_set() and not failures:
            batch = ring.sample(16, rng, n_step=3, gamma=0.5, reward_offset=0.0)
            other = ring.sample_prioritised(16, rng, beta=1.0, n_step=3, gamma=0.5, reward_offset=0.0)
            for seen in (batch, other.batch):
                ahead = seen.next_observation[:, 0] - seen.observation[:, 0]
                same = torch.equal(seen.next_observation[:, 1], seen.observation[:, 1])
                if not (same and bool(((ahead >= 1) & (ahead <= 3)).all())):
                    failures.append((seen.observation, seen.next_observation))
            ring.set_priorities(other.positions, rng.random(16) + 0.1)

    lookers = [threading.Thread(target=look) for _ in range(2)]
    for looker in lookers:
        looker.start()
    for _ in range(5):
        for columns in sent:
            # As a restarted actor: the same rows again, under another name.
            ring.add(f"a{ring.position}", columns)
            ring.check_valid()
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
        ring.check_valid()
        if (ring.following != ring.unknown).any():
            batch = ring.sample(16, rng, n_step=n_step, gamma=0.5, reward_offset=0.0)
            ahead = batch.next_observation[:, 0] - batch.observation[:, 0]
            assert bool(((ahead >= 1) & (ahead <= n_step)).all())
            np.testing.assert_array_equal(batch.next_observation[:, 1], batch.observation[:, 1])
