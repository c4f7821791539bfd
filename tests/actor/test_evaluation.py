"""Evaluations over fixed seeds."""

from types import SimpleNamespace

import pytest
import torch
from torch import Tensor

from actor.evaluation import Outcome, evaluated_policy, run_episodes
from actor.policy.make import make_base
from actor.policy.residual import ResidualActor
from actor.simulators.contract import Step
from actor.simulators.make import make_environment
from protocol.messages import BASE_ALONE
from tests.support.helpers import make_config
from tests.support.recorded import Recorded

FIRST_SEED, EPISODES, FRAMES = 1000, 3, 30


@pytest.mark.parametrize("plays", [pytest.param("base", marks=pytest.mark.slow), "full"])
def test_actions_are_the_same_to_the_bit_with_any_number_of_sub_environments(repository, plays) -> None:
    """The shipped base in native code, a residual network, and ManiSkill's PickCube in processes."""
    config = make_config(
        f"base.path={repository}/bases/PickCube-v1", f"task.max_episode_steps={FRAMES}",
        f"learner.evaluation.first_seed={FIRST_SEED}",
        "algo.relations=[{point: 19, tip: null, origin: 29, turned: false}]",
    )  # fmt: skip
    torch.manual_seed(0)
    made = ResidualActor(config.algo, 42, 7)
    torch.nn.init.normal_(made.head.weight, std=0.1)
    played = []
    for num_envs in (1, 12):
        policy = evaluated_policy(config, make_base(config.base, config.task, "cpu"), num_envs, plays)
        policy.adopt(1, made.state_dict(), BASE_ALONE)
        envs = Recorded(make_environment(config.task, "physx_cpu", num_envs, FIRST_SEED))
        try:
            result = run_episodes(envs, policy, first_seed=FIRST_SEED, episodes=EPISODES)
        finally:
            envs.close()
        assert result is not None and result.seeds == [FIRST_SEED + i for i in range(EPISODES)]
        played.append([torch.stack(envs.actions[seed]) for seed in result.seeds])
    for alone, together in zip(*played, strict=True):
        assert len(alone) > 10 and torch.equal(alone, together)


class Scripted:
    """Episodes of `seed % 5 + 1` frames, of which even seeds succeed."""

    observation_dim, action_dim, images = 1, 1, {}

    def __init__(self, num_envs: int) -> None:
        self.num_envs = num_envs

    def reset(self, seed: int) -> Tensor:
        self._seed = torch.arange(seed, seed + self.num_envs)
        self._frame = torch.zeros(self.num_envs, dtype=torch.int64)
        return torch.zeros(self.num_envs, 1)

    def step(self, action: Tensor) -> Step:
        self._frame += 1
        ended = self._frame > self._seed % 5
        success = ended & (self._seed % 2 == 0)
        self._seed = self._seed + self.num_envs * ended
        self._frame[ended] = 0
        state = torch.zeros(self.num_envs, 1)
        return Step(state, state[:, 0], success, ended & ~success, success, state)

    def close(self) -> None: ...


@pytest.mark.parametrize("num_envs", [1, 3, 4])
def test_every_seed_is_played_once_and_counted_at_its_place(num_envs: int) -> None:
    act = SimpleNamespace(action=torch.zeros(num_envs, 1))
    policy = SimpleNamespace(begin=lambda *_, **__: None, observe=lambda *_: None, act=lambda: act)
    ended: list[Outcome] = []
    result = run_episodes(Scripted(num_envs), policy, first_seed=7, episodes=10, ended=ended.append)
    assert result is not None and result.seeds == list(range(7, 17))
    assert result.successes == [seed % 2 == 0 for seed in result.seeds]
    assert sorted((each.seed, each.success) for each in ended) == [
        *zip(result.seeds, result.successes, strict=True)
    ]


def test_an_abandoned_evaluation_has_no_result() -> None:
    act = SimpleNamespace(action=torch.zeros(2, 1))
    policy = SimpleNamespace(begin=lambda *_, **__: None, observe=lambda *_: None, act=lambda: act)
    frames = iter([True, True, False])
    assert run_episodes(Scripted(2), policy, first_seed=4, episodes=9, goes_on=lambda: next(frames)) is None
