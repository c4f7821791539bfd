"""One contract for all adapters: real ManiSkill, gymnasium, and for many partial resets a batched fake."""

import gc

import msgspec
import pytest
import torch

from actor.simulators.batched import BatchedEnvironment
from actor.simulators.bundle import Bundle
from actor.simulators.contract import TaskError
from actor.simulators.make import make_environment
from actor.simulators.processes import part_of_processors, shares
from tests.support.fetch import needs_fetch
from tests.support.helpers import make_config

TASK = msgspec.structs.replace(make_config().task, max_episode_steps=5)
TASKS = {
    "maniskill": TASK,
    "pendulum": msgspec.structs.replace(make_config("task=pendulum").task, max_episode_steps=5),
    "fetch": msgspec.structs.replace(make_config("task=fetch_push").task, max_episode_steps=5),
}
ADAPTERS = ["maniskill", "pendulum", pytest.param("fetch", marks=needs_fetch)]


class BatchedSimulator:
    """What ManiSkillVectorEnv returns for many sub-environments, with partial resets."""

    num_envs = 3

    def __init__(self):
        space = type("Space", (), {"shape": (2,), "low": [-1, -1], "high": [1, 1]})
        self.single_observation_space = type("Space", (), {"shape": (2,)})
        self.single_action_space = space
        self.frame = torch.zeros(3)
        self.limits = torch.tensor([2.0, 3.0, 5.0])

    def reset(self, seed=None):
        self.frame = torch.zeros(3)
        return self._observation(), {}

    def _observation(self):
        return torch.stack([self.frame, torch.arange(3.0)], dim=1)

    def step(self, action):
        self.frame = self.frame + 1
        over = self.frame >= self.limits
        truncated, terminated = over.clone(), over & (torch.arange(3) == 1)
        final, success = self._observation(), terminated.clone()
        info = {"success": success}
        if over.any():
            self.frame = torch.where(over, torch.zeros(3), self.frame)
            info = {
                "success": torch.zeros(3, dtype=torch.bool),
                "final_observation": final,
                "final_info": {"success": success},
                "_final_info": over,
            }
        return self._observation(), success.clone(), terminated, truncated, info

    def close(self):
        pass


@pytest.fixture(scope="module", params=[*ADAPTERS, "batched", "fake"])
def envs(request):
    if request.param in TASKS:
        made = make_environment(TASKS[request.param], "physx_cpu", 2, seed=7)
    elif request.param == "batched":
        made = BatchedEnvironment.make(TASK, "physx_cpu", 1, seed=7)
    else:
        made = BatchedEnvironment(BatchedSimulator(), seed=7)
    yield made
    made.close()


def test_every_step_honours_the_contract(envs):
    n = envs.num_envs
    observation = envs.reset()
    assert observation.shape == (n, envs.observation_dim) and observation.dtype == torch.float32
    endings = torch.zeros(n, dtype=torch.int64)
    for _ in range(11):
        step = envs.step(torch.zeros(n, envs.action_dim))
        assert step.observation.shape == step.final_observation.shape == (n, envs.observation_dim)
        assert step.reward.dtype == step.observation.dtype == torch.float32
        assert step.terminated.dtype == step.truncated.dtype == step.success.dtype == torch.bool
        assert not (step.terminated & step.truncated).any()
        going = ~step.ended
        assert torch.equal(step.final_observation[going], step.observation[going])
        endings += step.ended
    assert (endings >= 2).all()


def test_a_final_observation_is_the_last_of_its_own_episode(envs):
    envs.reset()
    before = None
    for _ in range(12):
        step = envs.step(torch.zeros(envs.num_envs, envs.action_dim))
        for i in step.ended.nonzero()[:, 0].tolist():
            # One frame of standing still moves the state by little; a reset moves it by much.
            jump = (step.observation[i] - before[i]).abs().sum()
            drift = (step.final_observation[i] - before[i]).abs().sum()
            assert drift <= jump
        before = step.observation


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_seeds_make_episodes_repeat(adapter):
    envs = make_environment(TASKS[adapter], "physx_cpu", 2, seed=7)
    try:
        first = envs.reset(100)
        for _ in range(5):
            second = envs.step(torch.zeros(2, envs.action_dim)).observation
        assert not torch.equal(first, second)
        assert torch.equal(envs.reset(100), first)
        # The second episodes of seed 100 are the first ones of seed 102.
        torch.testing.assert_close(envs.reset(102), second)
    finally:
        envs.close()


def test_an_unknown_task_is_one_clear_error():
    with pytest.raises(TaskError, match=r"task\.env_id=Nonsense-v1"):
        make_environment(msgspec.structs.replace(TASK, env_id="Nonsense-v1"), "physx_cpu", 1, seed=0)


def test_a_control_mode_that_the_task_lacks_names_both():
    with pytest.raises(TaskError, match="pd_nonsense"):
        BatchedEnvironment.make(msgspec.structs.replace(TASK, control_mode="pd_nonsense"), "physx_cpu", 1, 0)


@pytest.mark.parametrize(("adapter", "num_envs"), [("maniskill", 4), ("maniskill", 5), ("pendulum", 5)])
def test_how_sub_environments_share_processes_changes_nothing(adapter, num_envs):
    played = []
    for processes in (1, 2, 3):
        envs = make_environment(TASKS[adapter], "physx_cpu", num_envs, seed=7, processes=processes)
        try:
            frames = [envs.reset()]
            generator = torch.Generator().manual_seed(0)
            for _ in range(7):  # across an episode's end
                step = envs.step(torch.rand(num_envs, envs.action_dim, generator=generator) * 2 - 1)
                frames += [step.observation, step.final_observation, step.ended.float(), step.reward]
            frames += [envs.reset(100)]
        finally:
            envs.close()
        played.append(frames)
    assert all(torch.equal(a, b) for other in played[1:] for a, b in zip(played[0], other, strict=True))


@pytest.mark.parametrize(
    ("processors", "actors", "found"), [(1, 2, 1), (2, 1, 1), (2, 2, 1), (4, 2, 2), (8, 2, 4), (9, 3, 3)]
)
def test_actors_share_the_processors_but_the_learners(monkeypatch, processors, actors, found):
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(processors)))
    assert part_of_processors(actors) == found


@pytest.mark.parametrize(
    ("num_envs", "asked", "found"),
    [
        (12, 1, [12]), (12, 5, [3, 3, 3, 3]), (12, 12, [1] * 12), (12, 99, [1] * 12), (7, 7, [1] * 7),
        (7, 6, [1, 2, 2, 2]), (5, 3, [1, 2, 2]), (5, 2, [2, 3]), (1, 3, [1]),
    ],
)  # fmt: skip
def test_processes_share_sub_environments_evenly(num_envs, asked, found):
    bundles = shares(num_envs, asked)
    assert [len(bundle) for bundle in bundles] == found
    assert [env for bundle in bundles for env in bundle] == list(range(num_envs))


def test_what_imports_left_is_no_garbage_to_look_through_at_every_reset():
    bundle = Bundle(TASK, range(1), stride=1, places=1)
    try:
        assert gc.get_freeze_count() > 10 * len(gc.get_objects())
    finally:
        gc.unfreeze()
        bundle.close()
