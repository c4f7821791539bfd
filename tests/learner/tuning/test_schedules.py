"""When updates of a base are due."""

import re
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from config.compose import compose_config
from config.section import ConfigError
from config.tuning import RejectionConfig, SftConfig
from learner.tuning.schedules import RoundSchedule, SftSchedule


def rows(frames: int) -> dict[str, Any]:
    return {"frames": np.array([frames], np.int32)}


def rounds(total_frames: int, have: SimpleNamespace) -> RoundSchedule:
    algo = compose_config(["algo=rejection_sampling", "algo.rounds=3", "algo.sft_steps=100"]).algo
    assert isinstance(algo, RejectionConfig) and algo.successes_to_start == 10
    return RoundSchedule(algo, total_frames, have)  # type: ignore[arg-type]  # as far as it is read


def test_rounds_begin_with_enough_successes_and_are_spread_over_the_frames() -> None:
    have = SimpleNamespace(episodes=9, figures=dict)
    schedule = rounds(1000, have)
    schedule.count("a", rows(200))
    assert schedule.updates_due == 0 and schedule.waiting_for.startswith("9 of 10 successful episodes")
    have.episodes = 10
    due = []
    for _ in range(8):
        schedule.count("a", rows(100))
        due.append(schedule.updates_due)
    # The first at 300 frames, the last at 1,000, one in the middle.
    assert due == [100, 100, 100, 100, 200, 200, 200, 300]
    assert schedule.finished == "learner.total_frames=1000 is used"


def test_actors_wait_while_more_than_a_round_is_late() -> None:
    schedule = rounds(1000, SimpleNamespace(episodes=10, figures=dict))
    schedule.count("a", rows(100))
    assert schedule.updates_due == 100 and schedule.takes_data
    schedule.count("a", rows(600))
    assert schedule.updates_due == 200 and not schedule.takes_data
    schedule.updates += 100
    assert schedule.takes_data


def test_actors_push_the_base_as_the_settings_say() -> None:
    behaviour = rounds(1000, SimpleNamespace(episodes=10, figures=dict)).behaviour()
    assert (behaviour.noise_std, behaviour.noise_decisions, behaviour.mask_probability) == (0.6, 25, 1)


def test_rounds_go_on_after_a_restart() -> None:
    have = SimpleNamespace(episodes=10, figures=dict)
    first = rounds(1000, have)
    first.count("a", rows(300))
    first.updates = 60
    again = rounds(1000, have)
    again.resume(2, 700)
    again.load_state(first.state())
    assert (again.rounds_begun, again.updates_due) == (2, 140)


def test_a_run_that_was_stopped_with_enough_successes_trains_before_more_frames_come() -> None:
    schedule = rounds(1000, SimpleNamespace(episodes=10, figures=dict))
    schedule.resume(2, 300)
    assert schedule.updates_due == 100 and schedule.waiting_for == ""
    schedule.load_state({"updates": 0, "started_at": None})  # of a checkpoint before the last success
    assert schedule.updates_due == 100


def test_a_run_without_successes_says_that_nothing_was_trained() -> None:
    schedule = rounds(100, SimpleNamespace(episodes=2, figures=dict))
    schedule.count("a", rows(100))
    assert schedule.finished is not None and "was not trained: 2 of 10 successful" in schedule.finished


def test_sft_takes_frames_in_proportion_to_its_updates() -> None:
    algo = compose_config(["algo=sft", "algo.steps=100"]).algo
    assert isinstance(algo, SftConfig)
    schedule = SftSchedule(algo, 1000)
    assert schedule.updates_due == 100 and schedule.takes_data
    schedule.count("a", rows(60))
    assert not schedule.takes_data
    schedule.updates = 50
    assert schedule.takes_data and schedule.finished is None
    schedule.updates = 100
    assert schedule.finished == "all 100 updates are made"


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["algo=sft", "learner.demos=null"], "algo=sft imitates learner.demos, got null"),
        (["algo=sft", "base=zero"], "algo=sft trains the base, base=zero has no weights"),
        (["algo=rejection_sampling", "algo.rounds=0"], "rounds must be at least 1"),
        (["algo=sft", "algo.lr=0"], "lr must be above 0, or null"),
    ],
)
def test_settings_that_cannot_train_a_base_are_refused_by_their_key(words: list[str], says: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(says)):
        compose_config(words)
