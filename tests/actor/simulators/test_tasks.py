"""Tasks of our own, on the real simulator."""

import gymnasium
import pytest
import torch
from mani_skill.utils import assets

from actor.policy.dimensions import dimensions_of
from actor.simulators.contract import TaskError
from actor.simulators.make import make_environment
from actor.simulators.maniskill import make_simulator, require_task, state_layout
from config.asked import ask_simulator
from config.compose import compose_config
from config.layout import name_of
from config.section import ConfigError
from config.spaces import spaces_of
from tests.support.helpers import make_config

TASK = make_config("task=peg_insertion_side_bounded").task


@pytest.fixture(scope="module")
def simulator():
    env = make_simulator(TASK, "physx_cpu", 1)
    env.reset(seed=0)
    yield env
    env.close()


@pytest.mark.parametrize(
    ("depth_m", "theirs", "ours"),
    [
        (-0.020, False, False), (-0.014, True, True), (0.0, True, True), (0.074, True, True),
        (0.076, True, False), (0.2, True, False),
    ],
)  # fmt: skip
def test_a_peg_counts_between_the_published_depths_alone(simulator, depth_m, theirs, ours) -> None:
    from mani_skill.utils.structs import Pose

    env = simulator.unwrapped
    # The peg's frame is its middle: put its head `depth_m` along the hole's axis.
    along = Pose.create_from_pq(torch.tensor([[depth_m, 0.0, 0.0]]), torch.tensor([[1.0, 0, 0, 0]]))
    env.peg.set_pose(env.box_hole_pose * along * env.peg_head_offsets.inv())
    assert env.evaluate()["peg_head_pos_at_hole"][0, 0].item() == pytest.approx(depth_m, abs=1e-4)
    assert bool(env.evaluate()["success"]) is ours
    assert bool(super(type(env), env).has_peg_inserted()[0]) is theirs


def test_it_has_the_published_limit_and_the_sizes_of_maniskills_own(simulator) -> None:
    assert gymnasium.spec("PegInsertionSideBounded-v1").max_episode_steps == 200
    assert simulator.unwrapped.single_observation_space.shape == (43,)
    assert simulator.unwrapped.single_action_space.shape == (7,)


@pytest.mark.parametrize("env_id", ["PokeCube-v1", "RollBall-v1", "StackPyramid-v1", "PullCubeTool-v1"])
def test_a_task_of_the_table_of_spaces_has_them(env_id: str) -> None:
    task = make_config(f"task.env_id={env_id}").task
    env = make_simulator(task, "physx_cpu", 1)
    space = env.unwrapped.single_observation_space.shape, env.unwrapped.single_action_space.shape
    env.close()
    known, asked = spaces_of(task), state_layout(task)
    assert space == ((known.observation_dim,), (known.action_dim,))
    assert known.layout is not None and [*known.layout.items()] == [*asked.layout.items()]
    assert known.action_dim == asked.action_dim


def test_the_state_of_a_controller_is_in_the_observation_and_names_find_what_is_behind_it() -> None:
    """Of the modes with a target, which the table does not know."""
    config = compose_config(["task.control_mode=pd_ee_target_delta_pose"])
    assert spaces_of(config.task)[:2] == (None, None)
    layout = ask_simulator(config.task).layout
    assert layout["agent.controller.arm.target_pose"] == 7
    [one, other] = config.task.relations["PickCube-v1"]
    assert name_of(one.point, layout) == name_of(other.origin, layout) == "extra.obj_pose"
    assert one.point > 29


def test_a_task_that_the_table_does_not_know_is_asked_for_its_sizes() -> None:
    """A control mode of the same name has 8 numbers for a panda and 9 for this hand."""
    task = make_config("task.env_id=RotateValveLevel0-v1", "task.control_mode=pd_joint_delta_pos").task
    assert spaces_of(task)[:2] == (None, None)
    env = make_simulator(task, "physx_cpu", 1)
    space = env.unwrapped.single_observation_space, env.unwrapped.single_action_space
    env.close()
    assert (
        dimensions_of(task) == (space[0].shape[0], space[1].shape[0]) and dimensions_of(task).action_dim == 9
    )


def test_sizes_in_the_configuration_spare_the_question() -> None:
    # Nobody could answer it.
    nonsense = "task.env_id=Nonsense-v1"
    assert dimensions_of(make_config(nonsense, "task.sizes=[5,3]").task) == (5, 3)
    with pytest.raises(ConfigError, match="Nonsense-v1 is not registered with ManiSkill.*task.sizes="):
        dimensions_of(make_config(nonsense).task)


def test_a_task_whose_files_are_missing_is_refused_with_the_command_that_fetches_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Where ManiSkill would ask at a prompt."""
    monkeypatch.setattr(assets, "is_data_source_downloaded", lambda name: False)
    with pytest.raises(TaskError, match=r"\(ycb\): .*download_asset PickSingleYCB-v1"):
        require_task("PickSingleYCB-v1")
    require_task("PickCube-v1")


def test_it_runs_in_simulator_processes() -> None:
    envs = make_environment(TASK, "physx_cpu", 1, seed=0)
    try:
        assert envs.reset().shape == (1, 43)
        assert not envs.step(torch.zeros(1, 7)).success.any()
    finally:
        envs.close()


def test_an_episode_is_that_of_its_seed_whichever_simulator_plays_it(simulator) -> None:
    """The peg's size is drawn with the scene."""

    def peg(env: gymnasium.Env, seed: int) -> tuple[float, ...]:
        env.reset(seed=seed)
        return tuple(env.unwrapped.peg_half_sizes[0].tolist())

    other = make_simulator(TASK, "physx_cpu", 1)
    try:
        sizes = [peg(simulator, seed) for seed in (7, 8, 9)]
        assert len(set(sizes)) == 3
        assert [peg(other, seed) for seed in (9, 3, 7)] == [sizes[2], peg(simulator, 3), sizes[0]]
    finally:
        other.close()
