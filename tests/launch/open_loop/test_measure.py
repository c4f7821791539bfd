"""Figures of plans beside recorded actions, computed by hand."""

import numpy as np
import pytest

from launch.open_loop.measure import Plan, figures


def plan(episode: int, frame: int, predicted: list[list[float]], recorded: list[list[float]]) -> Plan:
    return Plan(episode, frame, np.array(predicted, np.float32), np.array(recorded, np.float32))


def test_errors_are_averaged_over_all_dimensions_and_steps() -> None:
    plans = [
        plan(0, 0, [[1, 0], [1, 0]], [[0, 0], [0, 2]]),
        plan(1, 4, [[0, 0], [9, 9]], [[0, 1]]),  # the episode ends after one action
    ]
    found = figures(plans)
    assert found["mse"] == pytest.approx((1 + 0 + 1 + 4 + 0 + 1) / 6)
    assert found["mse_by_dimension"] == pytest.approx([2 / 3, 5 / 3])
    assert found["mse_by_step"] == pytest.approx([(1 + 0 + 0 + 1) / 4, (1 + 4) / 2])
    assert found["largest_error"] == {"error": -2.0, "episode": 0, "frame": 1, "step": 1, "dimension": 1}
    assert (found["plans"], found["frames"]) == (2, 3)
    assert found["smoothness_predicted"] is None


def test_a_straight_line_is_smooth_and_a_zigzag_is_not() -> None:
    found = figures([plan(0, 0, [[0], [1], [2]], [[0], [1], [0]])])
    assert found["smoothness_predicted"] == 0.0
    assert found["smoothness_recorded"] == 4.0
