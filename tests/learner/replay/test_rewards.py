"""What a decision is worth, for each reward of a recipe, against numbers computed by hand."""

from __future__ import annotations

import numpy as np
import pytest
from learner.replay.rewards import rewarded

from actor.simulators.maniskill import single_environment
from config.section import ConfigError
from learner.replay.memory.batches import Batches
from learner.replay.memory.ring import Ring
from learner.replay.prior.maniskill import read_maniskill
from tests.support.helpers import ROOT, make_config


def decisions(rewards: list[list[float]], frames: list[int]) -> dict[str, np.ndarray]:
    """One terminated episode of decisions of four frames each."""
    rows = len(frames)
    last = np.arange(rows) == rows - 1
    return {
        "observation": np.zeros((rows, 4, 3), np.float32),
        "base_plan": np.zeros((rows, 4, 2), np.float32),
        "residual": np.zeros((rows, 4, 2), np.float32),
        "reward": np.array(rewards, np.float32),
        "frames": np.array(frames, np.int32),
        "terminated": last,
        "truncated": np.zeros(rows, bool),
        "sub_env": np.zeros(rows, np.int32),
        "episode": np.zeros(rows, np.int64),
        "decision": np.arange(rows, dtype=np.int32),
        "final_row": np.array([rows - 1], np.int32),
        "final_observation": np.zeros((1, 3), np.float32),
        "final_base_plan": np.zeros((1, 4, 2), np.float32),
    }


def worth(reward: str, columns: dict[str, np.ndarray]) -> list[float]:
    """Reward of every decision as the update sees it, n-step 1."""
    config = make_config(f"algo.reward={reward}", "algo.n_step=1", "algo.batch_size=64")
    ring = Ring(10, 3, 8)
    ring.add("a", rewarded(columns, config.algo))
    batches = Batches(config.algo, ring, None, seed=0, device="cpu")
    offset = batches._reward_offset
    batch = ring.transitions(np.arange(len(columns["frames"])), n_step=1, gamma=0.9, reward_offset=offset)
    return batch.reward.tolist()


def test_every_reward_of_a_decision_matches_the_hand_computed_number():
    sparse = decisions([[0, 0, 0, 0], [0, 1, 0, 0]], frames=[4, 2])
    assert worth("sparse", sparse) == [0.0, 1.0]
    assert worth("sparse_minus_one", sparse) == [-1.0, 0.0]
    # The second decision succeeds in its second frame, which is worth 1 and ends the episode.
    dense = decisions([[0.25, 0.25, 0.5, 0.5], [0.75, 1, 0, 0]], frames=[4, 2])
    assert worth("normalized_dense", dense) == [1.5, 1.75]
    assert worth("dense_minus_one", dense) == [-0.75 - 0.75 - 0.5 - 0.5, -0.25 + 0.0]


def test_to_end_early_is_best_with_minus_one_and_worst_with_dense_alone():
    early = decisions([[0.5, 1, 0, 0]], frames=[2])
    late = decisions([[0.5, 0.5, 0.5, 0.5], [0.5, 1, 0, 0]], frames=[4, 2])
    assert sum(worth("dense_minus_one", early)) > sum(worth("dense_minus_one", late))
    assert sum(worth("normalized_dense", early)) < sum(worth("normalized_dense", late))


@pytest.mark.parametrize(
    ("reward", "low", "high"),
    [
        ("sparse", 0, 1),
        ("sparse_minus_one", -10, 0),
        ("normalized_dense", 0, 40),
        ("dense_minus_one", -40, 0),
    ],
)
def test_targets_are_clipped_to_what_the_reward_allows(reward: str, low: float, high: float):
    words = (f"algo.reward={reward}", "algo.gamma=0.9", "algo.residual_every=4")
    assert make_config(*words, "algo.target_clip=reachable").algo.target_range == pytest.approx((low, high))
    assert make_config(*words, "algo.target_clip=null").algo.target_range is None
    assert make_config(*words, "algo.target_clip=[-2, 3]").algo.target_range == (-2.0, 3.0)


def test_the_simulators_reward_follows_from_the_recipes():
    assert make_config("algo.reward=sparse_minus_one").task.reward_mode == "sparse"
    assert make_config("algo.reward=dense_minus_one").task.reward_mode == "normalized_dense"
    with pytest.raises(ConfigError, match="reward_mode must be normalized_dense"):
        make_config("algo.reward=normalized_dense", "task.reward_mode=sparse")


def test_shipped_demonstrations_hold_the_rewards_that_the_simulator_gives():
    config = make_config("algo.reward=dense_minus_one")
    episode = read_maniskill(ROOT / "bases/PickCube-v1/demos.h5")[0]
    env = single_environment(config.task, first_seed=0, stride=1)
    env.reset()
    steps = [env.step(action) for action in episode.actions]
    env.close()
    np.testing.assert_allclose(episode.rewards(config.algo), [step[1] for step in steps], atol=1e-3)
    # A success is worth 1, so 0 after minus one, and ends the episode.
    assert steps[-1][4]["success"] and steps[-1][1] == 1.0 and steps[-1][2]
    assert max(step[1] for step in steps[:-1]) < 1
