"""The base's features: what a base gives, and what an actor sends of it."""

import numpy as np
import pytest
import torch

from actor.policy.contract import CheckpointError
from actor.policy.decorated import DecoratedPolicy
from actor.policy.diffusion.base import DiffusionBase
from actor.policy.features import LARGEST, rounded, sizes_of
from actor.policy.make import make_base
from actor.policy.padded import PaddedBase, with_base_pose
from actor.policy.spec import experience_spec
from actor.rollout import Rollout
from config.main import Config
from protocol.arrays import Columns
from protocol.experience import ExperienceCheck
from tests.support.diffusion import base_keys, small_agent
from tests.support.fakes import CountingBase, ScriptedEnvironment, SeeingBase
from tests.support.helpers import collect, make_config

SEES = "algo.sees=[proprioception,features]"


def seeing(*words: str) -> Config:
    return make_config(SEES, "algo.proprioception=[[0, 2]]", *words)


@pytest.mark.parametrize("native", [False, True])
def test_of_a_diffusion_base_they_are_what_its_network_is_conditioned_on(native: bool) -> None:
    agent, given = small_agent(normalize=True), []
    agent.obs_center += 0.3
    base = DiffusionBase(agent, act_horizon=4, inference_steps=2, native=native)
    history = torch.randn(3, 2, 5) * 2
    plan, features = base.plan_with_features(history, base_keys(3))
    assert torch.equal(plan, base.plan(history, base_keys(3)))
    agent.noise_pred_net.register_forward_pre_hook(lambda _, arguments: given.append(arguments[2]))
    agent.predict(torch.zeros(3, 8, 3), 0, history)
    assert torch.equal(features, given[0]) and features.shape == (3, base.features_dim)


def test_a_base_of_maniskill_2_sees_its_constants_too() -> None:
    base = DiffusionBase(small_agent(obs_dim=30), act_horizon=4, inference_steps=2)
    padded = PaddedBase(base, 30, "path")
    history = torch.randn(3, 2, 23)
    assert torch.equal(padded.features(history), base.features(with_base_pose(history)))
    assert padded.features_dim == base.features_dim == 60


def test_too_large_a_feature_is_sent_as_the_largest_number_there_is() -> None:
    sent = rounded(torch.tensor([1e9, -1e9, 1 / 3]))
    assert sent.dtype == torch.float16 and sent.tolist()[:2] == [LARGEST, -LARGEST]
    assert sent[2] == np.float16(1 / 3)


def played(config: Config, ends: str = "truncated", frames: int = 12) -> Columns:
    """What an actor sends of episodes of seven, three and five frames."""
    base = SeeingBase()
    spec = experience_spec(config, base)
    policy = DecoratedPolicy.of(config, base, num_envs=2, first_seed=0)
    columns = collect(Rollout(ScriptedEnvironment([[7, 3], [5]], ends=ends), policy, spec), frames)
    ExperienceCheck(spec)(columns)
    return columns


@pytest.mark.parametrize("every", [1, 2, 4])
def test_each_decision_has_those_of_its_own_observation_however_long_a_plan_is(every: int) -> None:
    columns = played(seeing(f"algo.residual_every={every}"))
    newest = columns["observation"][:, 0, 0]
    # The history has two frames; before an episode's first frame it has that frame.
    oldest = np.where(columns["decision"] == 0, newest, newest - 1)
    wanted = np.stack([newest, np.float32(oldest / 3), np.ones_like(newest)], axis=1)
    np.testing.assert_array_equal(columns["features"], wanted.astype(np.float16))
    finals = columns["final_observation"][:, 0]
    np.testing.assert_array_equal(columns["final_features"][:, 0], finals.astype(np.float16))


def test_nothing_bootstraps_from_a_terminated_episode_so_there_are_none() -> None:
    columns = played(seeing("algo.residual_every=4"), ends="terminated")
    assert len(columns["final_features"]) and not columns["final_features"].any()


def test_the_residual_sees_the_bits_that_are_sent() -> None:
    config, seen = seeing("algo.residual_every=4"), []
    policy = DecoratedPolicy.of(config, SeeingBase(), num_envs=2, first_seed=0)
    policy._choose = lambda rows, row, plan: seen.append(row) or torch.zeros_like(plan)  # type: ignore[method-assign]  # watched
    policy.begin(torch.tensor([[100.0, 0, 0], [200.0, 1, 0]]))
    chosen = policy.act()
    assert torch.equal(seen[0][:, 3:], chosen.optional["features"].float())
    assert seen[0][0, 4] == np.float16(100 / 3)


def test_nobody_asks_a_base_for_features_that_nobody_sees() -> None:
    base = SeeingBase()
    base.features = base.plan_with_features = None  # type: ignore[method-assign,assignment]  # a call would fail
    for words in ([], ["algo.sees=[proprioception]", "algo.proprioception=[[0, 2]]"]):
        config = make_config("algo.residual_every=4", *words)
        policy = DecoratedPolicy.of(config, base, num_envs=1, first_seed=0)
        policy.begin(torch.zeros(1, 3))
        assert "features" not in policy.act().optional
        assert experience_spec(config, base).features_dim == 0


def test_critics_alone_may_see_them_and_the_actor_sends_them() -> None:
    config = make_config("algo.residual_every=4", "algo.critics_see=[state,features]")
    assert experience_spec(config, SeeingBase()).features_dim == 3
    assert played(config)["features"].any()


def test_a_base_without_features_is_refused_in_one_line_and_so_is_no_base() -> None:
    config = seeing()
    with pytest.raises(CheckpointError, match=r"algo\.sees .* base \S+ has none: set both to \[state\]"):
        sizes_of(CountingBase(), config.algo.plays, config.base.path)
    with pytest.raises(ValueError, match="must not name features: base=zero has none"):
        seeing("base=zero", "base.path=none")


def test_the_shipped_base_has_them_with_the_task_s_sizes() -> None:
    config = make_config(SEES)
    base = make_base(config.base, config.task, "cpu")
    spec = experience_spec(config, base)
    assert spec.features_dim == sizes_of(base, config.algo.plays, "").features == base.obs_horizon * 42
