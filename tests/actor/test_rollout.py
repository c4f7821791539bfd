"""Frames and decisions become exactly the rows that happened."""

import numpy as np
import torch

from actor.rollout import Rollout
from tests.support.behaviour import residual_acts
from tests.support.fakes import CountingBase, ScriptedEnvironment
from tests.support.helpers import collect, make_config, make_policy, make_rollout
from tests.support.spec import make_spec

EXPLORING = residual_acts(1.0, uniform=True)


def rollout_of(lengths, every, ends="truncated"):
    config = make_config(f"algo.residual_every={every}")
    base = CountingBase()
    policy = make_policy(base, config, len(lengths), every)
    return base, policy, make_rollout(ScriptedEnvironment(lengths, ends), policy, every)


def test_base_runs_once_a_decision_and_once_more_only_at_a_truncation():
    base, _, rollout = rollout_of([[8]], every=4)
    collect(rollout, 8)
    assert base.planned == 2 + 1
    base, _, rollout = rollout_of([[8]], every=4, ends="terminated")
    collect(rollout, 8)
    assert base.planned == 2


def test_a_plan_serves_all_its_frames_whatever_residual_every_is():
    for every in (1, 2, 4):
        base, _, rollout = rollout_of([[100]], every)
        columns = collect(rollout, 8)
        assert base.planned == 2
        plans = columns["base_plan"].reshape(8, 2)[:, 0]
        first, second = 0.1, 0.104
        expected = [first + i / 100 for i in range(4)] + [second + i / 100 for i in range(4)]
        np.testing.assert_allclose(plans, expected, atol=1e-6)


def test_an_episode_that_ends_mid_plan_leaves_no_trace_in_the_next():
    base, _, rollout = rollout_of([[3, 100], [100]], every=4)
    columns = collect(rollout, 8)
    rows = columns["sub_env"] == 0
    assert columns["frames"][rows].tolist() == [3, 4]
    assert columns["decision"][rows].tolist() == [0, 0]
    assert columns["episode"][rows].tolist() == [0, 1]
    # The second episode's plan was made at its own first frame, from its own history alone.
    np.testing.assert_allclose(columns["base_plan"][rows][1, :, 0], 0.2 + np.arange(4) / 100, atol=1e-6)
    fresh = [h for h in base.histories if h[0, -1, 0] == 200.0]
    assert torch.equal(fresh[0][0, :, 0], torch.tensor([200.0, 200.0]))


def test_final_observations_are_the_true_last_ones():
    _, _, rollout = rollout_of([[3], [5]], every=1)
    columns = collect(rollout, 5)
    assert columns["final_observation"][:, 0].tolist() == [103.0, 105.0]
    ends = columns["terminated"] | columns["truncated"]
    assert np.flatnonzero(ends).tolist() == columns["final_row"].tolist()
    # The base was asked at the final observation, with the history that led there.
    np.testing.assert_allclose(columns["final_base_plan"][:, 0, 0], [0.103, 0.105], atol=1e-6)


def test_a_terminated_episode_is_not_truncated_and_needs_no_final_plan():
    _, _, rollout = rollout_of([[3]], every=4, ends="terminated")
    columns = collect(rollout, 3)
    assert columns["terminated"].tolist() == [True]
    assert columns["truncated"].tolist() == [False]
    assert not columns["final_base_plan"].any()


def test_executed_action_is_clipped_base_plus_scaled_residual():
    _, policy, rollout = rollout_of([[100]] * 3, every=2)
    policy.behaviour = EXPLORING
    columns = collect(rollout, 6)
    wanted = np.clip(columns["base_plan"] + 0.1 * columns["residual"], -1, 1)
    np.testing.assert_allclose(columns["action"], wanted, atol=1e-6)
    assert np.abs(columns["residual"]).max() > 0.5


def test_rows_past_the_executed_frames_are_zero():
    _, _, rollout = rollout_of([[3]], every=4)
    columns = collect(rollout, 3)
    assert columns["frames"].tolist() == [3]
    assert not columns["action"][0, 3].any() and not columns["observation"][0, 3].any()
    assert columns["observation"][0, :3, 0].tolist() == [100.0, 101.0, 102.0]
    assert columns["reward"][0].tolist() == [0.0, 1.0, 2.0, 0.0]


def test_decisions_under_way_keep_their_residual_and_version_when_weights_change():
    _, policy, rollout = rollout_of([[100]], every=4)
    rollout.step()
    weights = {name: value + 1 for name, value in policy._residual.state_dict().items()}
    policy.adopt(7, weights, EXPLORING)
    columns = collect(rollout, 7)
    assert columns["weights_version"].tolist() == [0, 7]
    assert not columns["residual"][0].any() and columns["residual"][1].any()


def test_environment_and_policy_begin_with_the_first_seed_that_is_given():
    class Recording(ScriptedEnvironment):
        def reset(self, seed=None):
            seeds.append(seed)
            return super().reset(seed)

    seeds = []
    envs = Recording([[8]])
    policy = make_policy(CountingBase(), make_config(), 1, 4)
    Rollout(envs, policy, make_spec(residual_every=4, observation_dim=1, action_dim=2), first_seed=17)
    assert seeds[0] == 17
