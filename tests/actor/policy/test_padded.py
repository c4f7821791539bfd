"""Bases of ManiSkill2 over observations of ManiSkill3."""

import pytest
import torch

from actor.policy.contract import CheckpointError
from actor.policy.diffusion.base import DiffusionBase
from actor.policy.diffusion.checkpoint import save_agent
from actor.policy.make import make_base
from config.process import UsageError
from tests.support.diffusion import base_keys, small_agent
from tests.support.helpers import make_config


def pose_base(tmp_path, act_dim=7):
    """A checkpoint of ManiSkill2: seven observation dimensions more than PegInsertionSide has here."""
    agent = small_agent(env_id="PegInsertionSide-v2", obs_dim=50, act_dim=act_dim)
    save_agent(tmp_path, agent, agent, {})
    return f"base.path={tmp_path}", agent


def test_a_checkpoint_of_maniskill2_sees_the_robots_base_pose_where_it_was(tmp_path):
    path, agent = pose_base(tmp_path)
    config = make_config(path, "base.pad_obs_to=50", "task.env_id=PegInsertionSide-v1")
    padded = make_base(config.base, config.task, "cpu")
    assert (padded.observation_dim, padded.action_dim) == (43, 7)
    history = torch.randn(3, 2, 43)
    pose = torch.tensor([-0.615, 0, 0, 1, 0, 0, 0]).expand(3, 2, 7)
    as_trained = torch.cat([history[..., :18], pose, history[..., 18:]], dim=-1)
    plain = DiffusionBase(agent, act_horizon=4, inference_steps=4)
    keys = base_keys(3)
    torch.testing.assert_close(padded.plan(history, keys), plain.plan(as_trained, keys), atol=1e-5, rtol=0)
    assert padded.fingerprint != plain.fingerprint


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        ([], "takes 50 observation dimensions.*the task has 43 and 7.*base.pad_obs_to=50"),
        (["base.pad_obs_to=51"], "base.pad_obs_to=51, but base .* takes 50"),
        (["task.env_id=PickCube-v1"], "50 observation dimensions.*the task has 42"),
        (["base.act_horizon=8"], "act_horizon=8 needs 9 predicted actions, this base predicts 8"),
        (["task.control_mode=pd_joint_pos"], "pd_joint_pos has actions outside"),
        (["task.control_mode=pd_ee_delta_pos"], "pd_ee_delta_pose.*pd_ee_delta_pos"),
    ],
)
def test_what_does_not_fit_is_refused_without_a_simulator(tmp_path, overrides, says):
    path, _ = pose_base(tmp_path)
    config = make_config(path, "task.env_id=PegInsertionSide-v1", "algo.residual_every=4", *overrides)
    with pytest.raises(UsageError, match=says):
        make_base(config.base, config.task, "cpu")


def test_another_action_dimension_is_refused_without_a_simulator(tmp_path):
    path, _ = pose_base(tmp_path, act_dim=4)
    config = make_config(path, "base.pad_obs_to=50", "task.env_id=PegInsertionSide-v1")
    with pytest.raises(CheckpointError, match="gives 4 action dimensions, the task has 43 and 7"):
        make_base(config.base, config.task, "cpu")
