"""Bases of a configuration: what fits the task and what is refused."""

import json

import pytest
import torch

from actor.policy.contract import CheckpointError
from actor.policy.diffusion.checkpoint import save_agent
from actor.policy.make import check_base_fits, make_base
from tests.support.diffusion import base_keys, small_agent
from tests.support.helpers import make_config


@pytest.fixture
def checkpoint(tmp_path):
    save_agent(tmp_path, small_agent(), small_agent(), {})
    return tmp_path


def test_a_base_for_another_task_is_refused_naming_both_sides(checkpoint):
    config = make_config(f"base.path={checkpoint}", "task.control_mode=pd_joint_delta_pos")
    with pytest.raises(CheckpointError, match="pd_ee_delta_pose.*pd_joint_delta_pos"):
        make_base(config.base, config.task, "cpu")
    config = make_config(f"base.path={checkpoint}")
    with pytest.raises(CheckpointError, match="5 observation dimensions.*the task has 42"):
        make_base(config.base, config.task, "cpu")


BOTH = "was trained on PushCube-v1, the task is PullCube-v1"


def make_of_task(folder, trained_on, *words):
    """For PullCube, whose sizes are those of PushCube."""
    agent = small_agent(env_id=trained_on, obs_dim=35, act_dim=7)
    save_agent(folder, agent, agent, {})
    config = make_config(f"base.path={folder}", "task.env_id=PullCube-v1", *words)
    return make_base(config.base, config.task, "cpu")


def test_a_base_of_another_task_of_the_same_sizes_is_refused_naming_both_unless_a_key_accepts_it(
    tmp_path, caplog
):
    with pytest.raises(CheckpointError, match=f"{BOTH}.*base.of_other_task=accept"):
        make_of_task(tmp_path, "PushCube-v1")
    assert not caplog.records
    make_of_task(tmp_path, "PushCube-v1", "base.of_other_task=accept")
    assert BOTH in caplog.text


@pytest.mark.parametrize("trained_on", ["PullCube-v1", "PullCube-v2", "Pull-v1", ""])
def test_a_base_of_the_task_of_what_its_name_begins_with_or_of_none_is_taken(trained_on, tmp_path, caplog):
    make_of_task(tmp_path, trained_on)
    assert not caplog.records


def test_a_task_that_no_table_knows_is_taken_at_its_word_and_checked_again_at_the_simulator(checkpoint):
    arguments = checkpoint / "args.json"
    of_mine = {"control_mode": "mine", "env_id": "Mine-v1"}
    arguments.write_text(json.dumps(json.loads(arguments.read_text()) | of_mine))
    mine = (f"base.path={checkpoint}", "task.env_id=Mine-v1", "task.control_mode=mine")
    config = make_config(*mine, "task.sizes=[9,3]")
    with pytest.raises(CheckpointError, match="5 observation dimensions.*the task has 9 and 3"):
        make_base(config.base, config.task, "cpu")
    config = make_config(*mine, "task.sizes=[5,3]")
    base = make_base(config.base, config.task, "cpu")
    with pytest.raises(CheckpointError, match="5 observation dimensions.*the task has 42"):
        check_base_fits(base, 42, 7, "here")


def test_no_base_at_all_plans_zeros_of_the_tasks_sizes():
    config = make_config("base=zero", "task.env_id=StackCube-v1")
    base = make_base(config.base, config.task, "cpu")
    assert (base.observation_dim, base.action_dim) == (48, 7)
    assert torch.equal(base.plan(torch.rand(3, 1, 48), base_keys(3)), torch.zeros(3, 4, 7))
    config = make_config("base=zero", "task.env_id=Mine-v1", "task.sizes=[5,3]")
    base = make_base(config.base, config.task, "cpu")
    assert (base.observation_dim, base.action_dim) == (5, 3)
