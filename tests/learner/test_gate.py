"""The share of episodes that the residual may play, by hand-made episodes."""

from __future__ import annotations

import numpy as np

from learner.schedule.gate import SuccessGate
from learner.schedule.pace import Pace
from tests.support.helpers import make_config

GATE = ("algo.mask_by=success", "algo.gate_share=0.25", "algo.gate_episodes=4", "algo.gate_margin=0.25")


def decisions(residual: list[float], success: bool = False, ended: bool = True, first: int = 0):
    """Decisions of one sub-environment, the last of which may end the episode."""
    rows = len(residual)
    last = np.arange(rows) == rows - 1
    flags = np.zeros((rows, 2), bool)
    flags[-1, 0] = success
    return {
        "residual": np.array(residual, np.float32)[:, None, None] * np.ones((1, 2, 3), np.float32),
        "frames": np.full(rows, 1, np.int32),
        "success": flags,
        "terminated": last & success & ended,
        "truncated": last & (not success) & ended,
        "sub_env": np.zeros(rows, np.int32),
        "decision": np.arange(first, first + rows, dtype=np.int32),
    }


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
    pace = Pace(make_config(*GATE).algo, max_behind=10)
    behaviour = pace.behaviour()
    assert behaviour.mask_episodes and behaviour.mask_probability == 0.25
    assert not Pace(make_config("algo=policy_decorator").algo, max_behind=10).behaviour().mask_episodes


def test_confidence_scales_noise_and_pessimism_and_survives_a_restart():
    words = ("algo.confidence_from=0.25", "algo.confidence_least=0.125", "algo.noise_std=0.4")
    pace = Pace(make_config(*GATE, *words, "algo.actor_pessimism=0.5").algo, max_behind=10)
    assert (pace.behaviour().noise_std, pace.pessimism) == (0.1, 2.0)
    play(pace.gate, "ssss", residual=0.0)
    for outcome, noise, pessimism in (("ffff", 0.05, 4.0), ("ffff", 0.05, 4.0), ("ssss", 0.1, 2.0)):
        play(pace.gate, outcome, residual=0.1)
        assert (pace.behaviour().noise_std, pace.pessimism) == (noise, pessimism)
    play(pace.gate, "s" * 12, residual=0.1)
    assert (pace.behaviour().noise_std, pace.pessimism) == (0.4, 0.5)
    later = Pace(make_config(*GATE, *words, "algo.actor_pessimism=0.5").algo, max_behind=10)
    later.load_state(pace.state())
    assert later.pessimism == 0.5
