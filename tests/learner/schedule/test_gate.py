"""The share of episodes that the residual may play, by hand-made episodes."""

import numpy as np
import pytest

from learner.schedule.gate import SuccessGate
from learner.schedule.pace import Pace
from tests.support.columns import decisions_with as decisions
from tests.support.helpers import make_config

GATE = ("algo.mask_by=success", "algo.gate_share=0.25", "algo.gate_margin=0.25")


@pytest.fixture(autouse=True)
def _four_episodes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("learner.schedule.gate.EPISODES", 4)


def play(gate: SuccessGate, successes: str, residual: float) -> None:
    for letter in successes:
        gate.count("a", decisions([0.0, residual], success=letter == "s"))


def test_the_share_doubles_where_the_residual_is_as_good_as_the_base_and_halves_where_not():
    gate = SuccessGate(make_config(*GATE).algo)
    play(gate, "ssff", residual=0.0)
    assert gate.base_success == 0.5 and gate.share == 0.25
    play(gate, "sff", residual=0.1)
    assert gate.share == 0.25
    play(gate, "f", residual=0.1)  # 1 of 4: within the margin of 0.25
    assert gate.share == 0.5
    play(gate, "ssss", residual=0.1)
    assert gate.share == 1.0
    play(gate, "ffff", residual=0.1)
    assert gate.share == 0.5
    play(gate, "ffffffff", residual=0.1)
    assert gate.share == 0.25


def test_nothing_opens_before_the_base_was_measured():
    gate = SuccessGate(make_config(*GATE).algo)
    play(gate, "ssssssss", residual=0.1)
    assert gate.share == 0.25
    play(gate, "ffff", residual=0.0)
    assert gate.share == 0.5


def test_one_residual_in_any_message_makes_the_episode_the_residuals():
    gate = SuccessGate(make_config(*GATE).algo)
    gate.count("a", decisions([0.0, 0.3], ended=False))
    gate.count("b", decisions([0.0], success=True))
    gate.count("a", decisions([0.0], success=False, first=2))
    assert gate.base_success == 1.0
    # What an actor left behind says nothing about its next episode.
    gate.count("a", decisions([0.3], ended=False))
    gate.count("a", decisions([0.0], success=False))
    assert gate.base_success == 0.5


def test_published_behaviour_draws_episodes_with_the_earned_share():
    pace = Pace(make_config(*GATE).algo, max_behind=10, total_frames=1000)
    behaviour = pace.behaviour()
    assert behaviour.mask_episodes and behaviour.mask_probability == 0.25
    published = Pace(make_config("algo=policy_decorator").algo, max_behind=10, total_frames=1000)
    assert not published.behaviour().mask_episodes


def test_an_episode_in_which_somebody_intervened_says_nothing_of_either():
    gate = SuccessGate(make_config(*GATE).algo)
    by_hand = {"intervention": np.array([[False, True], [False, False]])}
    gate.count("a", decisions([0.0, 0.3], ended=False) | by_hand)
    gate.count("a", decisions([0.0], success=True, first=2) | {"intervention": np.zeros((1, 2), bool)})
    assert np.isnan(gate.base_success) and gate.state()["residual"] == []
    gate.count("a", decisions([0.0], success=True) | {"intervention": np.zeros((1, 2), bool)})
    assert gate.base_success == 1.0
