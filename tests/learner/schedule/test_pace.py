"""How many updates are due, who waits, and how actors act meanwhile."""

import pytest

from learner.schedule.pace import Pace
from tests.support.helpers import make_config


def test_pace_pays_warm_up_and_data_and_makes_actors_wait():
    algo = make_config(
        "algo.learning_starts=100",
        "algo.critic_warmup_updates=30",
        "algo.utd=0.5",
        "algo.mask_by=decisions",
        "algo.mask_horizon=400",
    ).algo
    pace = Pace(algo, max_behind=10, total_frames=1000)
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
    pace = Pace(make_config(*words).algo, max_behind=10, total_frames=1000)
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
    pace = Pace(make_config(*words).algo, max_behind=10, total_frames=1000)
    pace.decisions = 100 + 64
    assert pace.updates_due == 64 * utd
    pace.updates = int(64 * utd)
    pace.decisions += 3
    assert pace.updates_due == int(3 * utd)


def test_published_residuals_are_uniform_until_learning_starts():
    pace = Pace(make_config("algo=policy_decorator").algo, max_behind=10, total_frames=1000)
    assert pace.behaviour().uniform and pace.behaviour().mask_probability == 0.0
    pace.decisions = 8000
    assert not pace.behaviour().uniform
    assert pace.behaviour().mask_probability == 8000 / 30000


def test_the_base_s_own_noise_comes_before_chosen_noise():
    pace = Pace(make_config("algo=dsrl", "algo.learning_starts=100").algo, max_behind=10, total_frames=1000)
    pace.decisions = 99
    assert pace.behaviour().mask_probability == 0 and not pace.behaviour().uniform
    pace.decisions = 100
    assert pace.behaviour().mask_probability == 1
