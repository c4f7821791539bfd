"""Nothing is played that the learner could not use."""

from typing import Any

import numpy as np
import pytest
import torch

from actor.policy.gaussian import make_residual
from actor.policy.sampled import SampledPolicy
from actor.policy.sight import Sizes
from actor.rounds import DecisionRounds, EpisodeRounds
from actor.simulators.bundle import FINAL, OUTCOME, Bundle
from actor.simulators.cameras import STATE
from actor.simulators.contract import Step
from config.compose import compose_config
from protocol.arrays import Columns
from tests.support.behaviour import residual_acts
from tests.support.fakes import CountingBase, ScriptedEnvironment
from tests.support.helpers import make_config, make_rollout


class Resting(ScriptedEnvironment):
    """See `RestingEnvironment`."""

    def step_in(self, action: torch.Tensor, acting: torch.Tensor) -> Step:
        rests = ~acting
        kept = [(self._episode[i], self._frame[i]) for i in range(self.num_envs)]
        step = super().step(action)
        for i in rests.nonzero()[:, 0].tolist():
            self._episode[i], self._frame[i] = kept[i]
        here = self.reset()
        return Step(
            observation=here,
            reward=step.reward,
            terminated=step.terminated & ~rests,
            truncated=step.truncated & ~rests,
            success=step.success & ~rests,
            final_observation=torch.where(rests[:, None], here, step.final_observation),
        )


def made(
    kind: type[DecisionRounds], lengths: list[list[int]], lag: int = 0
) -> tuple[SampledPolicy, DecisionRounds]:
    torch.manual_seed(0)
    config = make_config("algo=ppo", "algo.residual_every=4")
    base = CountingBase()
    policy = SampledPolicy(
        base,
        make_residual(config.algo.plays, Sizes(base.observation_dim, 0), base.action_dim),
        num_envs=len(lengths),
        residual_every=4,
        residual_scale=0.1,
        device="cpu",
        first_seed=0,
    )
    rollout = make_rollout(Resting(lengths), policy, 4, optional_columns=("log_prob",))
    return policy, kind(rollout, policy, lag)


def adopt(policy: SampledPolicy, version: int, units: int) -> None:
    weights: dict[str, torch.Tensor] = policy._residual.state_dict()  # type: ignore[union-attr]
    policy.adopt(version, weights, residual_acts(1.0, round=units))


def play(rounds: DecisionRounds) -> Columns:
    """A round, which ends by itself."""
    for _ in range(1000):
        if rounds.waits:
            return rounds.take()
        rounds.step()
    raise AssertionError("it never waits")


def test_a_round_is_so_many_decisions_of_each_sub_environment() -> None:
    policy, rounds = made(DecisionRounds, [[100], [100]])
    adopt(policy, 1, units=3)
    assert play(rounds)["sub_env"].tolist() == [0, 1] * 3
    assert rounds.frames == 2 * 12
    adopt(policy, 2, units=2)
    columns = play(rounds)
    assert columns["weights_version"].tolist() == [2] * 4 and np.isfinite(columns["log_prob"]).all()


def test_with_a_lag_a_round_more_is_played_and_no_lead_grows() -> None:
    policy, rounds = made(DecisionRounds, [[1000]], lag=1)
    adopt(policy, 1, units=3)
    assert len(play(rounds)["frames"]) == 6
    for version in (2, 3):
        adopt(policy, version, units=3)
        assert len(play(rounds)["frames"]) == 3


def test_who_has_played_its_episodes_rests_until_all_have() -> None:
    policy, rounds = made(EpisodeRounds, [[8, 4], [20, 12]])
    adopt(policy, 1, units=2)
    columns = play(rounds)
    ends = [(int(columns["sub_env"][row]), int(columns["episode"][row])) for row in columns["final_row"]]
    assert sorted(ends) == [(0, 0), (0, 1), (1, 0), (1, 1)]
    assert columns["frames"].sum() == rounds.frames == 8 + 4 + 20 + 12
    assert (columns["decision"][columns["sub_env"] == 0]).tolist() == [0, 1, 0]
    adopt(policy, 2, units=1)
    columns = play(rounds)
    # Both begin their third episodes at their first observations.
    begin = columns["observation"][columns["decision"] == 0][:, 0, 0]
    assert begin.tolist() == [300, 300] and (columns["weights_version"] == 2).all()


def test_newer_weights_wait_for_the_end_of_a_round_of_episodes() -> None:
    policy, rounds = made(EpisodeRounds, [[8]])
    adopt(policy, 1, units=1)
    assert rounds.takes_weights
    rounds.step()
    assert not rounds.takes_weights and not rounds.waits


def test_an_episodes_numbers_do_not_depend_on_how_long_its_sub_environment_rested() -> None:
    drawn: list[Any] = []
    for length in (4, 40):
        policy, rounds = made(EpisodeRounds, [[4], [length]])
        for version in (1, 2):
            adopt(policy, version, units=1)
            columns = play(rounds)
        drawn.append(columns["residual"][columns["sub_env"] == 0])
    assert np.array_equal(*drawn)


def test_simulators_beside_one_another_play_the_same_seeds() -> None:
    task = compose_config(["task=pendulum", "base=zero"]).task
    together = Bundle(task, range(8, 12), stride=4, places=4, alike=2)
    starts = together.reset(seed=8)[0][STATE].copy()
    assert np.array_equal(starts[0], starts[1]) and np.array_equal(starts[2], starts[3])
    alone = Bundle(task, range(8, 9), stride=4, places=1)
    assert np.array_equal(alone.reset(seed=8)[0][STATE][0], starts[0])
    assert not np.array_equal(starts[0], starts[2])


def test_a_simulator_rests_where_it_is_told_to() -> None:
    task = compose_config(["task=pendulum", "base=zero"]).task
    bundle = Bundle(task, range(2), stride=2, places=2)
    before = bundle.reset(seed=0)[0][STATE].copy()
    frame = bundle.step(np.array([[1.0, 0.0], [1.0, 1.0]], np.float32))[0]
    assert np.array_equal(frame[STATE][0], before[0]) and np.array_equal(frame[FINAL + STATE][0], before[0])
    assert not np.array_equal(frame[STATE][1], before[1])
    assert frame[OUTCOME][0].tolist() == [0, 0, 0, 0]


@pytest.mark.parametrize("lag", [0, 1])
def test_who_waits_in_vain_plays_another_round(lag: int) -> None:
    policy, rounds = made(DecisionRounds, [[100]], lag)
    adopt(policy, 1, units=2)
    play(rounds)
    rounds.go_on()
    assert not rounds.waits and len(play(rounds)["frames"]) == 2
