"""PPO's and GRPO's arithmetic against numbers computed by hand."""

import math

import pytest
import torch
from torch import Tensor

from learner.algorithms.on_policy import (
    advantages,
    divergence,
    group_advantages,
    normalised,
    policy_loss,
    value_loss,
)

GAMMA, LAMBDA = 0.5, 0.5


def column(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float32)[:, None]


def estimated(ended: list[bool], terminated: list[bool]) -> list[float]:
    """Of three decisions with rewards 1, 2, 4, values 1, 1, 1 and next values 1, 1, 8."""
    discount = GAMMA * ~torch.tensor(terminated)[:, None]
    found = advantages(
        column(1, 2, 4), discount, column(1, 1, 1), column(1, 1, 8), torch.tensor(ended)[:, None], LAMBDA
    )
    return found[:, 0].tolist()


def test_advantages_are_discounted_sums_of_errors() -> None:
    # Errors: 1 + 0.5 - 1 = 0.5, 2 + 0.5 - 1 = 1.5, 4 + 0.5 * 8 - 1 = 7. Each weighs a quarter of the one
    # before.
    expected = [0.5 + 0.25 * (1.5 + 0.25 * 7), 1.5 + 0.25 * 7, 7]
    assert estimated([False] * 3, [False] * 3) == expected


def test_truncation_bootstraps_and_termination_does_not() -> None:
    assert estimated([False, False, True], [False] * 3)[2] == 4 + 0.5 * 8 - 1
    assert estimated([False, False, True], [False, False, True])[2] == 4 - 1


def test_nothing_of_the_next_episode_flows_back() -> None:
    # The second decision is the last of its episode, truncated: the error alone is left of it.
    assert estimated([False, True, False], [False] * 3)[:2] == [0.5 + 0.25 * 1.5, 1.5]


def test_without_trace_an_advantage_is_one_error_and_with_all_of_it_the_return() -> None:
    rows = column(1, 2, 4), torch.full((3, 1), GAMMA), column(1, 1, 1), column(1, 1, 8)
    going = torch.zeros(3, 1, dtype=torch.bool)
    assert advantages(*rows, going, 0.0)[:, 0].tolist() == [0.5, 1.5, 7]
    found = advantages(*rows, going, 1.0) + rows[2]
    assert found[0].item() == 1 + 0.5 * 2 + 0.25 * 4 + 0.125 * 8


def test_sub_environments_do_not_mix() -> None:
    pair = [torch.cat([rows, 10 * rows], 1) for rows in (column(1, 2, 4), column(1, 1, 1), column(1, 1, 8))]
    ended = torch.tensor([[False, True], [False, False], [False, False]])
    found = advantages(pair[0], torch.full((3, 2), GAMMA), pair[1], pair[2], ended, LAMBDA)
    assert found[:, 0].tolist() == estimated([False] * 3, [False] * 3)
    assert found[:, 1].tolist() == [5, 10 * (1.5 + 0.25 * 7), 70]


@pytest.mark.parametrize(
    ("ratio", "advantage", "expected"),
    [
        (1.1, 2.0, 2.2),  # inside
        (1.5, 2.0, 2.4),  # a good action that became more likely: no more than 1.2
        (1.5, -2.0, -3.0),  # a bad one: all of it counts
        (0.5, 2.0, 1.0),  # a good one that became less likely: all of it counts
        (0.5, -2.0, -1.6),  # a bad one: no less than 0.8
    ],
)
def test_the_ratio_is_clipped_where_that_makes_the_objective_smaller(
    ratio: float, advantage: float, expected: float
) -> None:
    found = policy_loss(torch.tensor([math.log(ratio)]), torch.zeros(1), torch.tensor([advantage]), clip=0.2)
    assert found.loss.item() == pytest.approx(-expected)
    assert found.clipped.item() == (abs(ratio - 1) > 0.2)


def test_a_clipped_row_has_no_gradient() -> None:
    log_prob = torch.tensor([math.log(1.5), math.log(1.1)], requires_grad=True)
    policy_loss(log_prob, torch.zeros(2), torch.tensor([1.0, 1.0]), clip=0.2).loss.backward()
    assert log_prob.grad is not None
    assert log_prob.grad.tolist() == pytest.approx([0, -1.1 / 2])


def test_the_divergence_of_rows_is_never_negative_and_right_on_average() -> None:
    # Two actions: the policy takes them with 0.25 and 0.75, the other one with 0.5 each.
    policy, other = torch.tensor([0.25, 0.75]), torch.tensor([0.5, 0.5])
    rows = divergence(policy.log(), other.log())
    assert (rows >= 0).all() and divergence(policy.log(), policy.log()).tolist() == [0, 0]
    expected = 0.25 * math.log(0.25 / 0.5) + 0.75 * math.log(0.75 / 0.5)
    assert (policy * rows).sum().item() == pytest.approx(expected)


@pytest.mark.parametrize(("clip", "expected"), [(None, 0.5), (0.5, (2.5**2) / 2), (9.0, 0.5)])
def test_a_value_that_moved_too_far_counts_as_if_it_had_not(clip: float | None, expected: float) -> None:
    # From 0 to 2, and 3 is wanted: with at most 0.5 it would be at 0.5, which is 2.5 away.
    found = value_loss(torch.tensor([2.0]), torch.tensor([0.0]), torch.tensor([3.0]), clip)
    assert found.item() == pytest.approx(expected)


def test_advantages_of_a_batch_are_normalised() -> None:
    assert normalised(torch.tensor([1.0, 3.0])).tolist() == [-1, 1]
    assert normalised(torch.tensor([2.0, 2.0])).tolist() == [0, 0]


def test_a_return_is_measured_against_its_group() -> None:
    # Group 7: 0, 0, 0, 1: mean 0.25, deviation sqrt(3) / 4. Group 3: 5 and 9: mean 7, deviation 2.
    found = group_advantages(torch.tensor([0.0, 5, 0, 0, 9, 1]), torch.tensor([7, 3, 7, 7, 3, 7]))
    low, high = -0.25 / (math.sqrt(3) / 4), 0.75 / (math.sqrt(3) / 4)
    assert found.advantage.tolist() == pytest.approx([low, -1, low, low, 1, high])
    assert found.counts.all() and found.dropped == 0


def test_groups_that_end_alike_are_dropped_and_counted() -> None:
    found = group_advantages(torch.tensor([1.0, 1, 0, 0, 0, 1]), torch.tensor([0, 0, 1, 1, 2, 2]))
    assert found.advantage.tolist() == [0, 0, 0, 0, -1, 1]
    assert found.counts.tolist() == [False] * 4 + [True] * 2 and found.dropped == 2
