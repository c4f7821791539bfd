"""Transitions are right under interleaving, endings, wrap-around and holes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actor.rollout import Rollout
from learner.replay.ring import UNKNOWN, Ring
from tests.fakes import CountingBase, ScriptedEnvironment
from tests.helpers import make_config, make_policy

CONFIG = make_config("algo.residual_every=1")


def messages(lengths, frames, every=1, ends="truncated", rows_per_message=5):
    policy = make_policy(CountingBase(), CONFIG, len(lengths), every)
    rollout = Rollout(ScriptedEnvironment(lengths, ends), policy, every)
    sent = []
    for _ in range(frames):
        rollout.step()
        if rollout.rows >= rows_per_message:
            sent.append(rollout.take())
    if rollout.rows:
        sent.append(rollout.take())
    return sent


def filled(capacity, sent, every=1):
    ring = Ring(capacity, 3, every * 2)
    for columns in sent:
        ring.add("a", columns)
    return ring


def test_every_transition_leads_to_the_next_observation_of_its_own_episode():
    ring = filled(1000, messages([[5, 3], [7], [4]], frames=60))
    start = np.flatnonzero(ring.following != UNKNOWN)
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
    assert batch.observation[:, 0].max() == 108.0
    assert set(batch.observation[:, 0]) == {100.0 + i for i in range(9)}


def test_a_restarted_actor_and_a_hole_link_nothing():
    first, second = messages([[50]], frames=10, rows_per_message=5)
    ring = Ring(100, 3, 2)
    ring.add("a", first)
    holed = {name: value.copy() for name, value in second.items()}
    holed["decision"] += 1
    ring.add("a", holed)
    assert ring.following[4] == UNKNOWN and ring.unlinked == 1
    ring.check_valid()


def test_an_empty_ring_says_so():
    with pytest.raises(ValueError, match="empty"):
        Ring(10, 3, 2).sample(1, np.random.default_rng(0), n_step=1, gamma=0.9, reward_offset=0.0)


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
        if (ring.following != UNKNOWN).any():
            batch = ring.sample(16, rng, n_step=n_step, gamma=0.5, reward_offset=0.0)
            ahead = batch.next_observation[:, 0] - batch.observation[:, 0]
            assert np.all((ahead >= 1) & (ahead <= n_step))
            np.testing.assert_array_equal(batch.next_observation[:, 1], batch.observation[:, 1])
