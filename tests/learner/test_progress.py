"""Counts of a run, by hand-made columns."""

from __future__ import annotations

import math

import numpy as np
import pytest

from learner.report.progress import BEHAVIOUR_LEAST, RunProgress
from learner.schedule.pace import Pace
from protocol.messages import Evaluation
from tests.support.helpers import make_config


def one_episode(success: bool, frames: int = 3) -> dict[str, np.ndarray]:
    """A message with one decision that ends an episode; only its last executed frame may succeed."""
    flags = np.zeros((1, 4), bool)
    flags[0, frames - 1] = success
    return {
        "frames": np.array([frames], np.int32),
        "success": flags,
        "final_row": np.array([0], np.int32),
        "weights_version": np.array([5], np.int64),
    }


def evaluation(policy: str, version: int, episodes: int) -> Evaluation:
    return Evaluation(
        session=1, sequence=0, policy=policy, version=version, wall_s=1.0,
        successes=[True] * episodes, seeds=list(range(episodes)),
    )  # fmt: skip


def test_behaviour_is_unknown_until_enough_episodes_ended():
    progress = RunProgress(make_config())
    for number in range(BEHAVIOUR_LEAST):
        assert math.isnan(progress.behaviour)
        progress.count(one_episode(success=number % 4 == 0), newest_version=7, now_s=float(number))
    assert progress.behaviour == 0.25
    assert (progress.frames, progress.decisions, progress.episodes) == (60, 20, 20)


def test_only_base_and_final_weights_over_all_seeds_end_a_run():
    progress = RunProgress(make_config("learner.evaluation.episodes=4"))
    progress.add_evaluation(evaluation("full", version=9, episodes=4))
    assert not progress.final_evaluation(9)
    progress.add_evaluation(evaluation("base", version=0, episodes=4))
    assert progress.final_evaluation(9)
    progress.add_evaluation(evaluation("full", version=10, episodes=2))
    assert not progress.final_evaluation(10)


def test_an_evaluation_is_reported_at_the_frames_of_the_weights_that_it_saw():
    progress = RunProgress(make_config())
    progress.count(one_episode(True), 7, now_s=100.0)
    progress.published(version=4, updates=11, now_s=102.5)
    for second in range(103, 110):
        progress.count(one_episode(True), 7, now_s=float(second))
    progress.published(version=5, updates=30, now_s=110.0)
    point = progress.add_evaluation(evaluation("full", version=4, episodes=4))
    assert (point["frames"], point["decisions"], point["updates"], point["t_s"]) == (3, 1, 11, 2.5)
    base = progress.add_evaluation(evaluation("base", version=5, episodes=4))
    assert (base["frames"], base["updates"], base["t_s"]) == (0, 0, 0.0)


def test_points_carry_rates_since_the_last_one():
    progress = RunProgress(make_config("learner.log_every_s=5"))
    progress.count(one_episode(True), 7, now_s=100.0)
    assert progress.point_if_due(100.0, updates=0) is not None
    assert progress.point_if_due(104.0, updates=0) is None
    progress.count(one_episode(True), 7, now_s=105.0)
    point = progress.point_if_due(106.0, updates=12)
    assert point is not None
    assert point["frames_per_s"] == 3 / 6 and point["updates_per_s"] == 2.0
    assert point["policy_lag"] == 2.0 and point["t_s"] == 6.0


def test_pace_pays_warm_up_and_data_and_makes_actors_wait():
    algo = make_config(
        "algo.learning_starts=100",
        "algo.critic_warmup_updates=30",
        "algo.utd=0.5",
        "algo.mask_by=decisions",
        "algo.mask_horizon=400",
    ).algo
    pace = Pace(algo, max_behind=10)
    pace.decisions = 99
    assert pace.updates_due == 0 and not pace.learning
    pace.decisions = 110
    assert pace.updates_due == 30 + 5
    assert pace.mask_probability == 110 / 400
    pace.updates = 33
    assert pace.updates_due == 2 and pace.takes_data
    pace.decisions = 200
    assert pace.updates_due == 47 and not pace.takes_data


def test_warm_up_is_no_debt_for_data_and_none_is_left_over_for_the_whole_run():
    words = ("algo.learning_starts=100", "algo.critic_warmup_updates=3000", "algo.utd=2")
    pace = Pace(make_config(*words).algo, max_behind=10)
    pace.decisions = 105
    assert pace.updates_due == 3010 and pace.takes_data
    pace.decisions = 106
    assert not pace.takes_data
    pace.decisions, pace.updates = 1100, 4990
    assert pace.updates_due == 10 and pace.takes_data
    pace.updates = 4989
    assert not pace.takes_data


@pytest.mark.parametrize("utd", [0.25, 0.5, 1, 4, 16])
def test_updates_follow_the_data_at_every_ratio(utd: float):
    words = ("algo.learning_starts=100", "algo.critic_warmup_updates=0", f"algo.utd={utd}")
    pace = Pace(make_config(*words).algo, max_behind=10)
    pace.decisions = 100 + 64
    assert pace.updates_due == 64 * utd
    pace.updates = int(64 * utd)
    pace.decisions += 3
    assert pace.updates_due == int(3 * utd)


def test_the_residuals_reach_grows_with_the_decisions():
    words = ("algo.learning_starts=100", "algo.scale_from=0.2", "algo.scale_horizon=400")
    pace = Pace(make_config(*words).algo, max_behind=10)
    reached = []
    for pace.decisions in (0, 100, 200, 500, 9000):
        reached.append(pace.reach)
    assert reached == pytest.approx([0.2, 0.2, 0.4, 1.0, 1.0])
    assert Pace(make_config("algo=policy_decorator").algo, max_behind=10).reach == 1.0


def test_published_residuals_are_uniform_until_learning_starts():
    pace = Pace(make_config("algo=policy_decorator").algo, max_behind=10)
    assert pace.behaviour().uniform and pace.behaviour().mask_probability == 0.0
    pace.decisions = 8000
    assert not pace.behaviour().uniform
    assert pace.behaviour().mask_probability == 8000 / 30000
