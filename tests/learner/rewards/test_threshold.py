"""Which probability counts as success."""

import numpy as np
import pytest

from learner.rewards.threshold import Curve, Episodes

PROBABILITY = np.array([0.9, 0.8, 0.8, 0.6, 0.4, 0.1])
SUCCESS = np.array([1, 1, 0, 1, 0, 0], bool)


def test_equal_probabilities_are_called_together() -> None:
    curve = Curve.of(PROBABILITY, SUCCESS)
    assert curve.thresholds.tolist() == [0.9, 0.8, 0.6, 0.4, 0.1]
    assert curve.precision.tolist() == pytest.approx([1, 2 / 3, 3 / 4, 3 / 5, 3 / 6])
    assert curve.recall.tolist() == pytest.approx([1 / 3, 2 / 3, 1, 1, 1])


@pytest.mark.parametrize(("precision", "threshold"), [(0.7, 0.6), (0.5, 0.1), (0.99, 0.9)])
def test_the_lowest_threshold_that_is_precise_enough_is_chosen(precision: float, threshold: float) -> None:
    curve = Curve.of(PROBABILITY, SUCCESS)
    assert curve.thresholds[curve.choose(precision)] == threshold


def test_without_one_the_most_precise_is_chosen() -> None:
    curve = Curve.of(np.array([0.9, 0.8, 0.7]), np.array([0, 1, 1], bool))
    assert curve.thresholds[curve.choose(0.95)] == 0.7


def test_episodes_are_found_by_a_successful_frame_and_fooled_by_any() -> None:
    episode = np.array([0, 0, 1, 1, 2, 2, 3])
    success = np.array([0, 1, 0, 1, 0, 0, 0], bool)
    called = np.array([0, 1, 1, 0, 1, 0, 0], bool)
    found = Episodes.of(called, success, episode)
    assert (found.found, found.fooled) == (0.5, 0.5)
    assert Episodes.of(called[:4], success[:4], episode[:4]).fooled is None
