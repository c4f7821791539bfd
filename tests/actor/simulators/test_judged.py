"""Episodes that a classifier ends and rewards."""

import numpy as np
import pytest
import torch
from torch import Tensor

from actor.policy.images import Images
from actor.rollout import Rollout
from actor.simulators.batched import BatchedEnvironment
from actor.simulators.contract import Step, VectorEnvironment
from actor.simulators.judged import JudgedEnvironment
from actor.simulators.maniskill import single_environment
from actor.simulators.processes import ProcessEnvironment, shares
from config.task import TaskConfig
from protocol.experience import ExperienceCheck
from tests.support.fakes import CountingBase
from tests.support.helpers import collect, make_config, make_policy
from tests.support.spec import make_spec


class Scripted:
    """Observation: [100 * episode + frame]. Truncated after 6 frames, unless it `terminates` after so many;
    truly successful in frame 2."""

    observation_dim, action_dim, images = 1, 1, {}

    def __init__(self, num_envs: int, terminates: int | None = None) -> None:
        self.num_envs, self._terminates = num_envs, terminates
        self.at = torch.zeros(num_envs)

    def reset(self, seed: int | None = None) -> Tensor:
        return self.at[:, None].clone()

    def step(self, action: Tensor) -> Step:
        self.at += 1
        final, frame = self.at[:, None].clone(), self.at % 100
        terminated = frame == (self._terminates or -1)
        truncated = (frame == 6) & ~terminated
        self._begin(terminated | truncated)
        return Step(self.at[:, None].clone(), self.at * 0, terminated, truncated, frame == 2, final)

    def restart(self, rows: Tensor) -> tuple[Tensor, Images]:
        self._begin(rows)
        return self.at[:, None].clone(), {}

    def picture(self) -> None: ...

    def _begin(self, rows: Tensor) -> None:
        self.at[rows] = (self.at[rows] // 100 + 1) * 100

    def close(self) -> None: ...


class Calls:
    """Calls these observations success."""

    threshold = 0.5

    def __init__(self, *observations: float) -> None:
        self._observations = torch.tensor(observations)

    def probability(self, observation: Tensor, images: Images) -> Tensor:
        return torch.isin(observation[:, 0], self._observations).float()


def play(classifier: Calls, frames: int, steps: int) -> list[Step]:
    envs = JudgedEnvironment(Scripted(1), classifier, frames)
    envs.reset()
    return [envs.step(torch.zeros(1, 1)) for _ in range(steps)]


def test_frames_in_a_row_end_and_reward_the_episode() -> None:
    steps = play(Calls(1, 3, 4), frames=2, steps=5)
    assert [step.terminated.item() for step in steps] == [False, False, False, True, False]
    assert [step.success.item() for step in steps] == [False, False, False, True, False]
    assert [step.reward.item() for step in steps] == [0, 0, 0, 1, 0]
    assert [step.true_success.item() for step in steps if step.true_success is not None] == [
        False, True, False, False, False,
    ]  # fmt: skip
    assert steps[3].final_observation.item() == 4 and steps[3].observation.item() == 100
    assert steps[4].final_observation.item() == 101, "the next episode has begun"


def test_frames_of_two_episodes_are_never_in_a_row() -> None:
    steps = play(Calls(6, 101), frames=2, steps=8)
    assert not any(step.success.item() for step in steps)
    assert [step.truncated.item() for step in steps].index(True) == 5


def test_success_in_the_last_frame_is_no_truncation_and_starts_one_episode_alone() -> None:
    steps = play(Calls(6), frames=1, steps=7)
    assert steps[5].terminated.item() and not steps[5].truncated.item()
    assert steps[5].observation.item() == 100 and steps[6].observation.item() == 101


@pytest.mark.parametrize("calls", [(), (3,)])
def test_an_episode_that_the_task_ends_is_ended_and_the_next_one_begins_once(
    calls: tuple[float, ...],
) -> None:
    envs = JudgedEnvironment(Scripted(1, terminates=3), Calls(*calls), 1)
    envs.reset()
    steps = [envs.step(torch.zeros(1, 1)) for _ in range(4)]
    assert [step.terminated.item() for step in steps] == [False, False, True, False]
    assert steps[2].success.item() == bool(calls)
    assert [steps[2].observation.item(), steps[3].observation.item()] == [100, 101]


def judged_task(*words: str) -> TaskConfig:
    return make_config("task.success=classifier:anywhere", "task.max_episode_steps=8", *words).task


def in_processes() -> VectorEnvironment:
    return ProcessEnvironment(judged_task(), shares(3, 2), 5)


def in_one_batch() -> VectorEnvironment:
    return BatchedEnvironment.make(judged_task(), "physx_cpu", 1, 5)


@pytest.mark.parametrize("make", [in_processes, in_one_batch])
def test_real_simulators_restart_where_they_are_told_to(make) -> None:
    envs = make()
    try:
        last = envs.num_envs - 1
        first = envs.reset(5)
        rows = torch.arange(envs.num_envs) == last
        for _ in range(3):
            step = envs.step(torch.full((envs.num_envs, envs.action_dim), 0.5))
        observation, _ = envs.restart(rows)
        assert torch.equal(observation[~rows], step.observation[~rows])
        assert not torch.allclose(observation[rows], step.observation[rows])
        assert torch.allclose(observation[rows][:, :7], first[rows][:, :7], atol=0.1), "the arm is back"
        ends = [envs.step(torch.zeros(envs.num_envs, envs.action_dim)).truncated for _ in range(8)]
        assert [bool(end[last]) for end in ends].index(True) == 7, "its limit counts from the restart"
        if last:
            assert [bool(end[0]) for end in ends].index(True) == 4
    finally:
        envs.close()


@pytest.fixture
def always_solved(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every frame of PickCube is a success."""
    from mani_skill.envs.tasks import PickCubeEnv

    said = {"success": torch.tensor([True]), "is_grasped": torch.tensor([False])}
    monkeypatch.setattr(PickCubeEnv, "evaluate", lambda _: said)


@pytest.mark.usefixtures("always_solved")
def test_an_episode_goes_on_beyond_the_simulators_success() -> None:
    """ManiSkill's own word is `true_success` alone."""
    envs = JudgedEnvironment(in_one_batch(), Calls(), 1)
    try:
        envs.reset(5)
        step = envs.step(torch.zeros(1, envs.action_dim))
        assert step.true_success is not None and step.true_success.all()
        assert not step.ended.any() and not step.success.any()
    finally:
        envs.close()


def test_rows_have_both_words_and_the_reward_is_the_classifiers() -> None:
    envs = JudgedEnvironment(Scripted(1), Calls(3), 1)
    spec = make_spec(
        observation_dim=1, action_dim=1, act_horizon=2, residual_every=2, optional_columns=("true_success",)
    )
    base = CountingBase(observation_dim=1, action_dim=1, act_horizon=2)
    policy = make_policy(base, make_config("algo.residual_every=2", "base.act_horizon=2"), 1, 2)
    columns = collect(Rollout(envs, policy, spec), 4)
    ExperienceCheck(spec)(columns)
    assert columns["success"].tolist() == [[False, False], [True, False]]
    assert columns["reward"].tolist() == [[0, 0], [1, 0]]
    assert columns["true_success"].tolist() == [[False, True], [False, False]]
    assert columns["terminated"].tolist() == [False, True]


@pytest.mark.usefixtures("always_solved")
@pytest.mark.parametrize(("ends", "ended"), [(True, [True, True]), (False, [False, True])])
def test_maniskills_success_ends_an_episode_where_the_configuration_says_so(
    ends: bool, ended: list[bool]
) -> None:
    task = make_config("task.max_episode_steps=2", f"task.success_ends={ends}", "algo.target_clip=null").task
    envs = BatchedEnvironment.make(task, "physx_cpu", 1, 5)
    try:
        envs.reset(5)
        steps = [envs.step(torch.zeros(1, envs.action_dim)) for _ in range(2)]
    finally:
        envs.close()
    assert [step.ended.item() for step in steps] == ended
    assert all(step.success.all() and step.reward.item() == 1 for step in steps)
    assert [step.terminated.item() for step in steps] == [ends, ends]


@pytest.mark.usefixtures("always_solved")
@pytest.mark.parametrize("ends", [True, False])
def test_so_does_that_of_a_simulator_of_its_own(ends: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a process of several, whose settings would be those of other tests here."""
    monkeypatch.setattr("actor.simulators.quick.quicken", lambda: None)
    monkeypatch.setattr(torch, "set_num_threads", lambda count: None)
    task = make_config("task.max_episode_steps=2", f"task.success_ends={ends}", "algo.target_clip=null").task
    env = single_environment(task, 5, 1)
    try:
        env.reset()
        _, reward, terminated, truncated, info = env.step(np.zeros(env.action_space.shape, np.float32))
    finally:
        env.close()
    assert reward == 1 and info["success"] and (terminated, truncated) == (ends, False)
