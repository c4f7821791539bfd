"""What decisions are worth, against numbers computed by hand."""

import math

import pytest
import torch

from learner.on_policy.estimates import advantages, group_advantages, normalised

GAMMA, LAMBDA = 0.5, 0.5


def estimated(
    goes_on: tuple[bool, bool, bool],
    terminated: tuple[bool, bool, bool] = (False, False, False),
    trace: float = LAMBDA,
) -> list[float]:
    """Of three decisions with rewards 1, 2, 4, values 1, 1, 1 and next values 1, 1, 8."""
    rows = [torch.tensor(row) for row in ([1.0, 2, 4], [1.0, 1, 1], [1.0, 1, 8])]
    discount = GAMMA * ~torch.tensor(terminated)
    return advantages(rows[0], discount, rows[1], rows[2], torch.tensor(goes_on), trace).tolist()


def test_advantages_are_discounted_sums_of_errors() -> None:
    # Errors: 1 + 0.5 - 1 = 0.5, 2 + 0.5 - 1 = 1.5, 4 + 0.5 * 8 - 1 = 7. Each weighs a quarter of the one
    # before.
    expected = [0.5 + 0.25 * (1.5 + 0.25 * 7), 1.5 + 0.25 * 7, 7]
    assert estimated((True, True, False)) == expected


def test_truncation_bootstraps_and_termination_does_not() -> None:
    assert estimated((True, True, False))[2] == 4 + 0.5 * 8 - 1
    assert estimated((True, True, False), (False, False, True))[2] == 4 - 1


def test_nothing_of_the_next_episode_flows_back() -> None:
    # The second decision is the last of its episode, truncated: the error alone is left of it.
    assert estimated((True, False, False))[:2] == [0.5 + 0.25 * 1.5, 1.5]


def test_without_trace_an_advantage_is_one_error_and_with_all_of_it_the_return() -> None:
    assert estimated((True, True, False), trace=0.0) == [0.5, 1.5, 7]
    first = estimated((True, True, False), trace=1.0)[0] + 1
    assert first == 1 + 0.5 * 2 + 0.25 * 4 + 0.125 * 8


def test_advantages_of_a_batch_are_normalised() -> None:
    assert normalised(torch.tensor([1.0, 3.0])).tolist() == [-1, 1]
    assert normalised(torch.tensor([2.0, 2.0])).tolist() == [0, 0]


def test_a_return_is_measured_against_its_group() -> None:
    # Group 7: 0, 0, 0, 1: mean 0.25, deviation sqrt(3) / 4. Group 3: 5 and 9: mean 7, deviation 2.
    found = group_advantages(torch.tensor([0.0, 5, 0, 0, 9, 1]), torch.tensor([7, 3, 7, 7, 3, 7]))
    low, high = -0.25 / (math.sqrt(3) / 4), 0.75 / (math.sqrt(3) / 4)
    assert found.advantage.tolist() == pytest.approx([low, -1, low, low, 1, high])
    assert found.counts.all() and found.without_spread == 0


def test_groups_that_end_alike_are_left_out_and_counted() -> None:
    found = group_advantages(torch.tensor([1.0, 1, 0, 0, 0, 1]), torch.tensor([0, 0, 1, 1, 2, 2]))
    assert found.advantage.tolist() == [0, 0, 0, 0, -1, 1]
    assert found.counts.tolist() == [False] * 4 + [True] * 2
    assert found.groups == 3 and found.without_spread == 2
