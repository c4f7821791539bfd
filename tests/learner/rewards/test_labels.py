"""What is labelled, and which parts of it are held out together."""

import numpy as np
import pytest

from learner.replay.prior.demonstration import Demonstration
from learner.replay.prior.error import DemonstrationError
from learner.rewards.labels import Labels, labels_of


def episode(frames: int, succeeds: bool) -> Demonstration:
    success = np.arange(frames) == frames - 1 if succeeds else np.zeros(frames, bool)
    return Demonstration(np.ones((frames + 1, 3), np.float32), np.zeros((frames, 2), np.float32), success)


def test_success_is_of_the_frame_after_the_action() -> None:
    labels = labels_of([episode(2, True), episode(1, False)], ("a",))
    assert labels.success.tolist() == [False, False, True, False, False]
    assert labels.episode.tolist() == [0, 0, 0, 1, 1]
    assert labels.succeeds.tolist() == [True, False]


def test_frames_before_a_success_are_near_it_within_their_episode() -> None:
    labels = labels_of([episode(3, False), episode(3, True)], ("a",))
    assert labels.near(2).tolist() == [False] * 5 + [True, True, False]
    assert labels.near(9).tolist() == [False] * 4 + [True, True, True, False]


def test_frames_of_an_episode_stay_together_and_kinds_are_spread() -> None:
    labels = labels_of([episode(3, number % 3 == 0) for number in range(30)], ("a",))
    folds = labels.folds(5, seed=0)
    of_episode = [set(folds[labels.episode == number]) for number in range(30)]
    assert all(len(found) == 1 for found in of_episode)
    part = np.array([found.pop() for found in of_episode])
    assert np.bincount(part[labels.succeeds]).tolist() == [2] * 5
    assert np.bincount(part[~labels.succeeds]).tolist() == [4] * 5


@pytest.mark.parametrize("succeeds", [True, False])
def test_labels_of_one_class_are_refused(succeeds: bool) -> None:
    if succeeds:
        with pytest.raises(DemonstrationError, match="2 episodes are successful, folds=5"):
            labels_of([episode(2, True)] * 2, ("a",)).folds(5, 0)
    else:
        with pytest.raises(DemonstrationError, match="a, b: none of 4 episodes has a successful frame"):
            labels_of([episode(2, False)] * 4, ("a", "b"))


def test_an_episode_without_labels_of_failure_is_enough() -> None:
    """Frames before success are the other kind."""
    labels = labels_of([episode(2, True)] * 5, ("a",))
    assert isinstance(labels, Labels) and labels.success.sum() == 5
