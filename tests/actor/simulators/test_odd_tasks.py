"""Tasks that a run cannot play are refused in one line that says what they lack, before anything waits."""

import builtins
from collections.abc import Iterator

import gymnasium
import msgspec
import numpy as np
import pytest
from mani_skill.envs.sapien_env import BaseEnv
from mani_skill.envs.tasks.tabletop.pick_cube import PickCubeEnv
from mani_skill.utils import assets
from mani_skill.utils.registration import REGISTERED_ENVS, register_env

from actor.policy.dimensions import dimensions_of
from actor.simulators.contract import TaskError, UnplayableError, require_unit_actions
from actor.simulators.make import make_environment
from actor.simulators.maniskill import (
    make_maniskill,
    playable_simulator,
    require_task,
    state_layout,
)
from config.process import UsageError
from config.section import ConfigError
from tests.support.helpers import make_config

TASK = make_config().task


class SilentPickCube(PickCubeEnv):
    """A task of one's own that forgot to say when it has succeeded."""

    def evaluate(self):
        return {key: value for key, value in super().evaluate().items() if key != "success"}


class SparsePickCube(PickCubeEnv):
    """A task of one's own whose rewards nobody wrote."""

    compute_normalized_dense_reward = BaseEnv.compute_normalized_dense_reward


@pytest.fixture(scope="module", autouse=True)
def registered() -> Iterator[None]:
    kinds = {"SilentPickCube-v1": SilentPickCube, "SparsePickCube-v1": SparsePickCube}
    for name, kind in kinds.items():
        register_env(name, max_episode_steps=50)(kind)
    yield
    for name in kinds:
        del REGISTERED_ENVS[name], gymnasium.registry[name]


def test_a_task_that_reports_no_success_is_refused_by_the_simulator() -> None:
    task = msgspec.structs.replace(TASK, env_id="SilentPickCube-v1")
    with pytest.raises(TaskError, match="task.env_id=SilentPickCube-v1 reports no success.*evaluate"):
        playable_simulator(task, "physx_cpu", 1)


@pytest.mark.parametrize(
    ("env_id", "control_mode"),
    [("MS-CartpoleBalance-v1", "pd_joint_delta_pos"), ("Empty-v1", "pd_ee_delta_pose")],
)
def test_maniskills_own_tasks_without_success_are_refused_with_the_question_for_their_sizes(
    env_id: str, control_mode: str
) -> None:
    with pytest.raises(UnplayableError, match=f"{env_id} reports no success"):
        state_layout(msgspec.structs.replace(TASK, env_id=env_id, control_mode=control_mode))


def test_a_task_that_no_run_can_play_is_refused_without_the_advice_to_give_its_sizes() -> None:
    task = make_config("task.env_id=Empty-v1").task
    with pytest.raises(UsageError, match="^task.env_id=Empty-v1 reports no success") as refused:
        dimensions_of(task)
    assert "task.sizes" not in str(refused.value)


def test_the_error_of_a_simulator_in_a_process_is_that_of_the_task() -> None:
    """Workers are forked from this process, which has registered the task."""
    task = msgspec.structs.replace(TASK, env_id="SilentPickCube-v1")
    with pytest.MonkeyPatch.context() as patched, pytest.raises(TaskError, match="reports no success"):
        patched.setattr("actor.simulators.processes.start_method", lambda preloaded: "fork")
        make_environment(task, "physx_cpu", 1, seed=0)


@pytest.mark.parametrize(
    ("env_id", "robot"),
    [
        ("AnymalC-Reach-v1", "anymal_c"), ("UnitreeH1Stand-v1", "unitree_h1_simplified"),
        ("UnitreeGo2-Reach-v1", "unitree_go2_simplified_locomotion"),
    ],
)  # fmt: skip
def test_a_robot_whose_files_are_missing_is_refused_with_the_command_that_fetches_them(
    env_id: str, robot: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(assets, "is_data_source_downloaded", lambda name: False)
    with pytest.raises(TaskError, match=f"{env_id} needs files .*download_asset {robot}$"):
        require_task(env_id)


def test_a_question_that_nobody_can_answer_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def asks(*arguments: object, **settings: object) -> None:
        builtins.input("(y|n): ")

    def at_the_end(prompt: str) -> str:
        raise EOFError("EOF when reading a line")

    monkeypatch.setattr(builtins, "input", at_the_end)
    monkeypatch.setattr(gymnasium, "make", asks)
    with pytest.raises(TaskError, match="PickCube-v1 asks whether to download.*download_asset"):
        make_maniskill("PickCube-v1", num_envs=1)


@pytest.mark.parametrize(
    ("env_id", "says"),
    [
        ("PickCube-v0", "not registered with ManiSkill: check its spelling .*PickCube-v1"),
        ("pickcube-v1", "not registered with ManiSkill"),
        ("CartPole-v1", "not registered with ManiSkill"),  # gymnasium's own
        ("", "not registered with ManiSkill"),
    ],
)
def test_a_name_that_maniskill_does_not_know_is_refused_with_similar_ones(env_id: str, says: str) -> None:
    with pytest.raises(TaskError, match=says):
        require_task(env_id)


def test_a_control_mode_that_the_robot_lacks_is_refused_with_those_it_has() -> None:
    with pytest.raises(TaskError, match="pd_ee_delta_pse.*supported modes.*pd_ee_delta_pose"):
        state_layout(msgspec.structs.replace(TASK, control_mode="pd_ee_delta_pse"))


@pytest.mark.parametrize(
    ("space", "says"),
    [
        (gymnasium.spaces.Discrete(4), "of the kind Discrete"),
        (gymnasium.spaces.MultiDiscrete([2, 3]), "of the kind MultiDiscrete"),
        (gymnasium.spaces.MultiBinary(4), "of the kind MultiBinary"),
        (gymnasium.spaces.Dict({"one": gymnasium.spaces.Discrete(2)}), "several robots"),
        (gymnasium.spaces.Box(-2, 2, (3,)), "outside"),
        (gymnasium.spaces.Box(-np.inf, np.inf, (3,)), "outside"),
    ],
)
def test_actions_that_a_base_cannot_plan_are_refused(space: gymnasium.Space, says: str) -> None:
    with pytest.raises(TaskError, match=says):
        require_unit_actions(space)


def test_a_task_without_a_dense_reward_is_refused_naming_the_key() -> None:
    changes = dict(env_id="SparsePickCube-v1", reward_mode="normalized_dense")
    with pytest.raises(TaskError, match="SparsePickCube-v1 has no dense reward: set task.reward_mode=sparse"):
        playable_simulator(msgspec.structs.replace(TASK, **changes), "physx_cpu", 1)


@pytest.mark.parametrize("override", ["actor.num_envs=0", "task.obs=rgb", "learner.evaluation.num_envs=0"])
def test_what_no_task_can_be_played_with_is_refused_by_its_key(override: str) -> None:
    with pytest.raises(ConfigError, match=override.partition("=")[0].rpartition(".")[2]):
        make_config(override)
