"""PPO's and GRPO's losses against numbers computed by hand."""

import math

import pytest
import torch

from learner.on_policy.losses import divergence, policy_loss, reference_loss, value_loss


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
    assert found.clipped(0.2).item() == (abs(ratio - 1) > 0.2)
    assert found.kl.item() == pytest.approx(ratio - 1 - math.log(ratio), abs=1e-6)


def test_a_clipped_row_has_no_gradient() -> None:
    log_prob = torch.tensor([math.log(1.5), math.log(1.1)])
    found = policy_loss(log_prob, torch.zeros(2), torch.tensor([1.0, 1.0]), clip=0.2)
    assert found.by_log_prob.tolist() == pytest.approx([0, -1.1 / 2])


def rows(seed: int, count: int = 512) -> torch.Tensor:
    """Numbers of which some are far beyond every limit."""
    drawn = torch.randn(count, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return torch.where(torch.arange(count) % 50 == 0, 30 * drawn, drawn)


def test_the_gradients_that_are_written_down_are_those_of_autograd() -> None:
    log_prob = rows(0).requires_grad_()
    ratio = (log_prob - rows(1)).clamp(-20, 20).exp()
    objective = torch.minimum(ratio * rows(2), ratio.clamp(0.8, 1.2) * rows(2)).mean()
    found = policy_loss(log_prob, rows(1), rows(2), clip=0.2)
    torch.testing.assert_close(found.loss, -objective.detach())
    torch.testing.assert_close(found.by_log_prob, -torch.autograd.grad(objective, log_prob)[0])

    apart = (rows(3) - log_prob).clamp(-20, 20)
    expected = (apart.exp() - 1 - apart).mean()
    reference = reference_loss(log_prob, rows(3))
    torch.testing.assert_close(reference.loss, expected.detach())
    torch.testing.assert_close(reference.gradient, torch.autograd.grad(expected, log_prob)[0])


@pytest.mark.parametrize("clip", [None, 0.5])
def test_the_gradient_of_a_value_is_that_of_autograd(clip: float | None) -> None:
    value = rows(0).requires_grad_()
    error = (value - rows(2)).square()
    if clip is not None:
        error = torch.maximum(error, (rows(1) + (value - rows(1)).clamp(-clip, clip) - rows(2)).square())
    found = value_loss(value, rows(1), rows(2), clip)
    torch.testing.assert_close(found.loss, error.mean().detach() / 2)
    torch.testing.assert_close(found.gradient, torch.autograd.grad(error.mean() / 2, value)[0])


def test_the_divergence_of_rows_is_never_negative_and_right_on_average() -> None:
    # Two actions: the policy takes them with 0.25 and 0.75, the other one with 0.5 each.
    policy, other = torch.tensor([0.25, 0.75]), torch.tensor([0.5, 0.5])
    apart = divergence(policy.log(), other.log())
    assert (apart >= 0).all() and divergence(policy.log(), policy.log()).tolist() == [0, 0]
    expected = 0.25 * math.log(0.25 / 0.5) + 0.75 * math.log(0.75 / 0.5)
    assert (policy * apart).sum().item() == pytest.approx(expected)


@pytest.mark.parametrize(("clip", "expected"), [(None, 0.5), (0.5, (2.5**2) / 2), (9.0, 0.5)])
def test_a_value_that_moved_too_far_counts_as_if_it_had_not(clip: float | None, expected: float) -> None:
    # From 0 to 2, and 3 is wanted: with at most 0.5 it would be at 0.5, which is 2.5 away.
    found = value_loss(torch.tensor([2.0]), torch.tensor([0.0]), torch.tensor([3.0]), clip)
    assert found.loss.item() == pytest.approx(expected)
