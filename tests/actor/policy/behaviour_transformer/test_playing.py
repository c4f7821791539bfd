"""A behaviour transformer of a configuration, with the task, a residual and a simulator."""

import pytest
import torch

from actor.evaluation import evaluated_policy, run_episodes
from actor.policy.behaviour_transformer.base import BehaviourTransformerBase
from actor.policy.contract import CheckpointError
from actor.policy.features import sizes_of
from actor.policy.make import make_base
from actor.policy.padded import with_base_pose
from actor.simulators.make import make_environment
from config.section import ConfigError
from tests.support.behaviour_transformer import TOKEN, save_transformer
from tests.support.diffusion import base_keys
from tests.support.helpers import make_config
from tests.support.recorded import Recorded


def made(folder, *words, obs_dim=42, act_dim=7, **changes):
    """The base of a run, from a folder in the published layout."""
    path, _ = save_transformer(folder, obs_dim, act_dim, **changes)
    config = make_config("base=behaviour_transformer", path, *words)
    return make_base(config.base, config.task, "cpu"), config


def test_the_window_of_the_arguments_is_the_history_and_a_plan_is_one_action(tmp_path):
    base, config = made(tmp_path, context_window=6)
    assert isinstance(base, BehaviourTransformerBase)
    assert (base.obs_horizon, base.act_horizon, config.algo.residual_every) == (6, 1, 1)
    assert base.plan(torch.randn(2, 6, 42), base_keys(2)).shape == (2, 1, 7)


def test_by_default_it_plays_with_the_dropout_of_the_published_code(tmp_path):
    base, config = made(tmp_path)
    assert config.base.dropout == 0.1
    history = torch.randn(1, 4, 42).expand(2, -1, -1)
    one, other = base.plan(history, base_keys(2))
    assert not torch.equal(one, other)
    one, other = made(tmp_path, "base.dropout=0")[0].plan(history, base_keys(2))
    assert torch.equal(one, other)


@pytest.mark.parametrize(
    ("word", "says"),
    [
        ("base.act_horizon=4", "act_horizon must be 1, since it plans one action at a time, got 4"),
        ("base.dropout=1", r"dropout must be in \[0, 1\), got 1"),
        ("base.pad_obs_to=0", "pad_obs_to must be at least 1"),
    ],
)
def test_settings_that_it_cannot_have_are_refused(word, says):
    with pytest.raises(ConfigError, match=says):
        make_config("base=behaviour_transformer", word)


def test_what_does_not_fit_the_task_is_refused_naming_both_sides(tmp_path):
    with pytest.raises(CheckpointError, match="takes 41 observation dimensions.*the task has 42 and 7"):
        made(tmp_path, obs_dim=41)
    with pytest.raises(CheckpointError, match="control mode pd_ee_delta_pos, the task runs pd_ee_delta_pose"):
        made(tmp_path, control_mode="pd_ee_delta_pos")
    with pytest.raises(CheckpointError, match="trained on PushCube-v1, the task is PickCube-v1"):
        made(tmp_path, env_id="PushCube-v1")
    with pytest.raises(CheckpointError, match=r"no folder \S+ with a base"):
        config = make_config("base=behaviour_transformer", f"base.path={tmp_path / 'nowhere'}")
        make_base(config.base, config.task, "cpu")


def test_a_checkpoint_of_maniskill2_sees_the_robots_base_pose(tmp_path):
    with pytest.raises(CheckpointError, match="a checkpoint of ManiSkill2: set base.pad_obs_to=49"):
        made(tmp_path, obs_dim=49)
    padded, _ = made(tmp_path, "base.pad_obs_to=49", obs_dim=49)
    plain, _ = made(tmp_path, "task.sizes=[49,7]", obs_dim=49)
    history, keys = torch.randn(3, 4, 42), base_keys(3)
    assert torch.equal(padded.plan(history, keys), plain.plan(with_base_pose(history), keys))
    assert padded.observation_dim == 42 and padded.fingerprint != plain.fingerprint


def test_a_residual_may_see_its_token(tmp_path):
    words = ("algo.sees=[proprioception,features]",)
    base, config = made(tmp_path, *words)
    assert sizes_of(base, config.algo.plays, "").features == TOKEN


def test_an_episode_on_a_real_simulator_is_the_same_to_the_bit_alone_and_beside_others(tmp_path):
    """Two episodes of ManiSkill's PickCube, with dropout, one after the other and side by side."""
    played = []
    for num_envs in (1, 2):
        words = ("task.max_episode_steps=25", "learner.evaluation.first_seed=7")
        base, config = made(tmp_path, *words)
        policy = evaluated_policy(config, base, num_envs, "base")
        envs = Recorded(make_environment(config.task, "physx_cpu", num_envs, 7))
        try:
            result = run_episodes(envs, policy, first_seed=7, episodes=2)
        finally:
            envs.close()
        assert result is not None and result.seeds == [7, 8]
        played.append([torch.stack(envs.actions[seed]) for seed in result.seeds])
    for alone, beside in zip(*played, strict=True):
        assert len(alone.unique(dim=0)) > 10 and alone.abs().max() <= 1
        assert torch.equal(alone, beside)
