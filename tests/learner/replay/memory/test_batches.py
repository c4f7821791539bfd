"""Batches: what a decision is worth, and how much of them is prior data."""

import numpy as np
import pytest

from learner.replay.memory.batches import Batches
from learner.replay.memory.ring import Ring
from tests.support.columns import episode_of
from tests.support.helpers import make_config


@pytest.mark.parametrize(
    ("reward", "discounted"), [("sparse", {0.5, 1.0}), ("sparse_minus_one", {-1.0, 0.0})]
)
def test_the_reward_of_a_transition_matches_the_hand_computed_number(reward: str, discounted: set[float]):
    words = (f"algo.reward={reward}", "algo.n_step=2", "algo.gamma=0.5", "algo.prior_fraction=0")
    ring = Ring(10, 3, 8)
    # The second decision succeeds in its second frame, which ends the episode.
    ring.add("a", episode_of([[0, 0, 0, 0], [0, 1, 0, 0]], frames=[4, 2]))
    batch = Batches(make_config(*words).algo, ring, None, seed=0, device="cpu").next()
    # Of both decisions: -1 + 0.5 * (1 - 1); of the second: 1 - 1.
    assert set(batch["reward"].tolist()) == discounted


@pytest.mark.parametrize(("fraction", "rows"), [(0.0, 0), (0.25, 4), (0.5, 8)])
def test_a_fraction_of_each_batch_is_prior_data(fraction: float, rows: int):
    algo = make_config(f"algo.prior_fraction={fraction}", "algo.batch_size=16", "algo.n_step=1").algo
    rings = [Ring(10, 3, 8) for _ in range(2)]
    for value, ring in enumerate(rings):
        columns = episode_of([[0, 0, 0, 0]], frames=[4])
        ring.add("a", columns | {"observation": np.full((1, 4, 3), value, np.float32)})
    batch = Batches(algo, rings[0], rings[1], seed=0, device="cpu").next()
    assert (batch["observation"][:, 0] == 1).sum() == rows and len(batch["observation"]) == 16
    assert Batches(algo, rings[0], None, seed=0, device="cpu").next()["observation"].sum() == 0


def test_what_was_earned_is_the_discounted_reward_up_to_the_episodes_end():
    """Of decisions whose episode succeeds two decisions later: 0.25, 0.5 and 1."""
    words = ("algo.gamma=0.5", "algo.n_step=1", "algo.prior_fraction=0", "algo.batch_size=4000")
    ring = Ring(10, 3, 8)
    ring.add("a", episode_of([[0, 0, 0, 0], [0, 0, 0, 0], [0, 1, 0, 0]], frames=[4, 4, 2]))
    batches = Batches(make_config(*words).algo, ring, None, seed=0, device="cpu")
    before = batches.state()
    assert batches.return_earned() == pytest.approx((0.25 + 0.5 + 1) / 3, abs=0.03)
    assert batches.state() == before, "looking changes no batch"


def test_a_batch_drawn_before_is_found_again_with_the_positions_of_its_rows() -> None:
    algo = make_config("algo.prior_fraction=0.25", "algo.batch_size=16", "algo.n_step=1").algo
    online, prior = Ring(12, 3, 8), Ring(30, 3, 8)
    for ring, episodes in ((online, 9), (prior, 10)):
        for number in range(episodes):
            columns = episode_of([[0, 0, 0, 0]] * 2, frames=[4, 4])
            # Each row, final observations included, says its position.
            first = 3 * number
            columns["observation"][:] = first + np.arange(2)[:, None, None]
            ring.add("a", columns | {"final_observation": np.full((1, 3), first + 2, np.float32)})
    batches = Batches(algo, online, prior, seed=0, device="cpu")
    wanted = [batches.next() for _ in range(3)]
    for later, batch in enumerate(reversed(wanted)):
        drawn = batches.drawn(later)
        for name, values in drawn.transitions._asdict().items():
            np.testing.assert_array_equal(values, batch[name])
        assert drawn.is_prior.tolist() == [False] * 12 + [True] * 4
        np.testing.assert_array_equal(drawn.start, batch["observation"][:, 0])
        np.testing.assert_array_equal(drawn.end, batch["next_observation"][:, 0])
