"""Counts of a run, by hand-made columns."""

import math

import msgspec
import numpy as np

from learner.algorithms.contract import Goal
from learner.report.progress import BEHAVIOUR_LEAST, RunProgress
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


def evaluation(policy: str, version: int, episodes: int, failures: int = 0) -> Evaluation:
    return Evaluation(
        session=1, sequence=0, policy=policy, version=version, wall_s=1.0,
        successes=[i >= failures for i in range(episodes)], seeds=list(range(episodes)),
    )  # fmt: skip


STOP = ("learner.stop_at.success=0.975", "learner.stop_at.evaluations=2")


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


def test_training_ends_early_when_enough_consecutive_evaluations_of_trained_weights_are_good_enough():
    progress = RunProgress(make_config(*STOP))
    progress.published(version=1, updates=0, now_s=0.0)
    for version in range(2, 7):
        progress.published(version, updates=version, now_s=0.0)
    for version, failures in ((1, 0), (2, 0), (3, 2), (4, 1)):
        progress.add_evaluation(evaluation("full", version, 40, failures))
        progress.add_evaluation(evaluation("base", 0, 40))
        assert progress.stopped_early is None, version
    progress.add_evaluation(evaluation("full", 5, 40, failures=0))
    assert progress.stopped_early == (
        "the newest evaluations (97.5 %, 100.0 %) reach learner.stop_at.success=0.975"
    )


def test_neither_without_stop_at_nor_behind_the_frame_budget_nor_by_final_weights_does_a_run_end_early():
    off = RunProgress(make_config("learner.stop_at=null"))
    used = RunProgress(make_config(*STOP, "learner.total_frames=3"))
    used.count(one_episode(True), 0, now_s=0.0)
    over = RunProgress(make_config(*STOP))
    over.trained(1.0, updates=5)
    for progress in (off, used, over):
        progress.published(version=1, updates=5, now_s=0.0)
        for _ in range(3):
            progress.add_evaluation(evaluation("full", 1, 40))
        assert progress.stopped_early is None


def test_evaluations_of_an_earlier_process_count_for_an_early_end():
    before, after = RunProgress(make_config(*STOP)), RunProgress(make_config(*STOP))
    before.published(version=3, updates=9, now_s=0.0)
    after.load_state(before.state())
    after.resume(10, 40, [evaluation("full", 3, 40)])
    assert after.stopped_early is None
    after.add_evaluation(evaluation("full", 3, 40))
    assert after.stopped_early
    again = RunProgress(make_config(*STOP))
    again.load_state(before.state())
    again.resume(10, 40, [evaluation("full", 3, 40), evaluation("full", 3, 40)])
    assert again.stopped_early


def test_the_log_says_how_far_the_run_is_and_how_much_time_is_left(caplog):
    caplog.set_level("INFO")
    progress = RunProgress(make_config("learner.total_frames=12"))
    progress.count(one_episode(True), 7, now_s=100.0)
    for now_s in (200.0, 220.0):
        point = progress.point_if_due(now_s, updates=0)
        assert point is not None
        progress.say(point | {"waiting_for": ""}, Goal(progress.frames, 12, "frames"))
        progress.count(one_episode(True, frames=4), 7, now_s=now_s)
    assert "3 of 12 frames (25 %, 5 min left," in caplog.text
    assert "7 of 12 frames (58 %, 1 min left," in caplog.text


def test_the_log_of_a_run_that_learns_nothing_says_successes_instead_of_updates(caplog):
    caplog.set_level("INFO")
    progress = RunProgress(make_config())
    progress.count(one_episode(True), 7, now_s=100.0)
    progress.count(one_episode(False), 7, now_s=150.0)
    point = progress.point_if_due(200.0, updates=0)
    assert point is not None
    progress.say(point | {"waiting_for": ""}, Goal(2, 8, "episodes"))
    assert "1 of 2 episodes succeeded" in caplog.text
    assert "updates" not in caplog.text


def test_the_log_names_no_success_of_the_behaviour_before_it_is_known(caplog):
    caplog.set_level("INFO")
    progress = RunProgress(make_config())
    progress.count(one_episode(True), 7, now_s=100.0)
    point = progress.point_if_due(200.0, updates=0)
    assert point is not None
    progress.say(point | {"waiting_for": ""}, Goal(progress.frames, 12, "frames"))
    assert "0 updates (0/s)" in caplog.text
    assert "behaviour" not in caplog.text


def test_the_truth_is_told_beside_what_a_classifier_says():
    """Of four episodes in a row: a success, a false one, one that the classifier missed, and a failure."""
    progress = RunProgress(make_config("learner.log_every_s=5"))
    for number in range(BEHAVIOUR_LEAST):
        said, true = number % 4 < 2, number % 4 in (0, 2)
        truth = {"true_success": one_episode(true)["success"]}
        progress.count(one_episode(said) | truth, newest_version=7, now_s=float(number))
        # Of episodes that somebody played by hand nothing is judged.
        by_hand = one_episode(True) | {"true_success": one_episode(True)["success"]}
        progress.count(by_hand, newest_version=7, now_s=float(number), by_hand={0})
    resumed = RunProgress(make_config("learner.log_every_s=5"))
    resumed.load_state(progress.state())
    for each in (progress, resumed):
        point = each.point_if_due(1000.0, updates=0)
        assert point is not None and point["success_behaviour"] == 0.5
        assert (point["true_success_behaviour"], point["false_success_share_behaviour"]) == (0.5, 0.5)
    judged = msgspec.structs.replace(
        evaluation("full", version=4, episodes=4), true_successes=[True] + 3 * [False]
    )
    point = progress.add_evaluation(judged)
    assert (point["true_success_full"], point["false_success_share_full"]) == (0.25, 0.75)


def test_the_time_of_a_run_goes_on_after_a_restart_and_ends_with_training():
    first = RunProgress(make_config())
    first.count(one_episode(True), 7, now_s=100.0)
    assert first.point_if_due(100.5, updates=0) is not None
    first.count(one_episode(True), 7, now_s=104.0)  # nearer than the next point
    second = RunProgress(make_config())
    second.load_state(first.state())
    assert second.wall_s == 4.0
    second.trained(20.0, updates=1)
    second.count(one_episode(True), 7, now_s=21.0)
    assert second.wall_s == 4.0
    third = RunProgress(make_config())
    third.load_state(first.state())
    third.count(one_episode(True), 7, now_s=50.0)
    third.trained(53.0, updates=1)
    assert third.wall_s == 7.0
