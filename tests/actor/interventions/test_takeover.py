"""Where somebody acts instead of the policy: what is executed, and what is recorded."""

import threading
from types import SimpleNamespace

import numpy as np
import pytest

from actor.interventions.contract import Mark
from actor.loop import simulate
from protocol.arrays import Columns
from protocol.experience import ExperienceCheck
from tests.support.helpers import collect
from tests.support.interventions import ScriptedSource, intervention_spec, taken_over


class Unchanging:
    """What the loop asks of a policy that gets no other weights."""

    weights_version, base_version, has_room = 1, 0, True


class Counting:
    """An uplink to a learner that needs the first `frames` frames."""

    def __init__(self, frames: int) -> None:
        self._left, self.sent = frames, list[Columns]()

    @property
    def progress(self) -> SimpleNamespace:
        return SimpleNamespace(evaluate=False, finished=self._left == 0)

    def newest_weights(self, *, with_base: bool) -> None: ...

    def send(self, columns: Columns) -> None:
        self.sent.append(columns)

    def pump(self, figures: dict[str, float]) -> None:
        self._left -= 1


def test_the_action_is_executed_and_the_residual_is_the_one_that_reproduces_it():
    """Plans are 0.1, 0.11, 0.12, 0.13: with a scale of 0.1, 0.15 needs a residual of 0.4 in frame 1, 0.02 one
    of -1 in frame 2, and 0.9 more than there is in frame 3."""
    source = ScriptedSource({1: {0: [0.15, 0.15]}, 2: {0: [0.02, 0.02]}, 3: {0: [0.9, 0.9]}})
    columns = collect(taken_over(source, [[4]], "algo.residual_scale=0.1"), 4)
    ExperienceCheck(intervention_spec())(columns)
    assert columns["intervention"].tolist() == [[False, True, True, True]]
    np.testing.assert_allclose(columns["action"][0, :, 0], [0.1, 0.15, 0.02, 0.9], atol=1e-6)
    np.testing.assert_allclose(columns["residual"][0, :, 0], [0, 0.4, -1, 1], atol=1e-5)


def test_the_recorded_residual_stays_in_the_dimensions_that_it_may_change():
    source = ScriptedSource({0: {0: [0.15, 0.15]}})
    columns = collect(taken_over(source, [[4]], "algo.residual_scale=0.1", "algo.residual_dims=[1]"), 4)
    np.testing.assert_allclose(columns["action"][0, 0], [0.15, 0.15], atol=1e-6)
    np.testing.assert_allclose(columns["residual"][0, 0], [0, 0.5], atol=1e-5)


def test_only_the_frames_and_sub_environments_that_are_taken_over_say_so():
    source = ScriptedSource({5: {1: [0.5, 0.5]}}, num_envs=2)
    columns = collect(taken_over(source, [[8], [8]]), 8)
    places = np.argwhere(columns["intervention"])
    assert places.tolist() == [[3, 1]]
    assert (columns["sub_env"][3], columns["decision"][3]) == (1, 1)
    assert not columns["residual"][:3].any()


@pytest.mark.parametrize(
    ("mark", "success", "reward"), [(Mark.SUCCESS, True, 1.0), (Mark.FAILURE, False, 0.0)]
)
def test_a_mark_ends_the_episode_for_good_with_its_outcome(mark: Mark, success: bool, reward: float):
    """The fake's reward is the frame's number: in the marked frame, the mark's."""
    rollout = taken_over(ScriptedSource({}, {5: {0: mark}}), [[100]])
    columns = collect(rollout, 14)
    assert columns["frames"].tolist() == [4, 2]
    assert columns["terminated"].tolist() == [False, True]
    assert columns["success"][1].tolist() == [False, success, False, False]
    assert columns["reward"][1].tolist() == [4.0, reward, 0.0, 0.0]
    assert columns["final_observation"][:, 0].tolist() == [106.0]


def test_the_next_episode_after_a_mark_begins_at_its_first_observation():
    rollout = taken_over(ScriptedSource({}, {5: {0: Mark.FAILURE}}), [[100, 4]])
    columns = collect(rollout, 10)
    assert columns["episode"].tolist() == [0, 0, 1]
    assert columns["observation"][2, :, 0].tolist() == [200.0, 201.0, 202.0, 203.0]


def test_an_episode_that_is_thrown_away_is_never_sent_and_its_neighbours_are():
    source = ScriptedSource({}, {4: {1: Mark.THROWN_AWAY}}, num_envs=2)
    rollout = taken_over(source, [[6], [6]])
    columns = collect(rollout, 12)
    sent = sorted(set(zip(columns["sub_env"].tolist(), columns["episode"].tolist(), strict=True)))
    assert sent == [(0, 0), (0, 1), (1, 1)]
    assert columns["final_row"].tolist() == np.flatnonzero(columns["truncated"]).tolist()
    ExperienceCheck(intervention_spec())(columns)


def test_rows_are_sent_once_their_episode_has_ended():
    rollout = taken_over(ScriptedSource({}), [[8]])
    for _ in range(7):
        rollout.step()
    assert rollout.rows == 0
    rollout.step()
    assert rollout.rows == 2


def test_a_whole_episode_is_sent_in_messages_of_the_size_asked_for():
    rollout, uplink = taken_over(ScriptedSource({}), [[30]]), Counting(frames=60)
    simulate(rollout, Unchanging(), uplink, 3, threading.Event(), patience_s=1.0)  # type: ignore[arg-type]
    assert [len(columns["frames"]) for columns in uplink.sent] == [3] * 5
    assert [columns["final_row"].tolist() for columns in uplink.sent] == [[], [], [1], [], []]
    whole = {name: np.concatenate([sent[name] for sent in uplink.sent]) for name in ("episode", "decision")}
    assert whole["episode"].tolist() == [0] * 8 + [1] * 7
    assert whole["decision"].tolist() == [*range(8), *range(7)]
    for columns in uplink.sent:
        ExperienceCheck(intervention_spec())(columns)


def test_a_residual_that_decides_later_leaves_no_trace_of_the_intervention():
    source = ScriptedSource({frame: {0: [0.9, 0.9]} for frame in range(4)})
    columns = collect(taken_over(source, [[8]]), 8)
    assert columns["intervention"].tolist() == [[True] * 4, [False] * 4]
    assert columns["residual"][0].all() and not columns["residual"][1].any()


def test_actions_beyond_the_range_are_cut():
    source = ScriptedSource({0: {0: [7.0, -7.0]}})
    columns = collect(taken_over(source, [[4]]), 4)
    assert columns["action"][0, 0].tolist() == [1.0, -1.0]
