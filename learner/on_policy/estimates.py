"""How much better decisions were than expected.

PPO's by generalised advantage estimation: Schulman et al. 2015, arXiv 1506.02438. GRPO's against a group:
Shao et al. 2024, arXiv 2402.03300.
"""

from typing import NamedTuple

import torch
from torch import Tensor

_SMALLEST_DEVIATION = 1e-8


def advantages(
    reward: Tensor, discount: Tensor, value: Tensor, next_value: Tensor, goes_on: Tensor, trace: float
) -> Tensor:
    """Generalised advantage estimates (B,) of decisions in the order of time, one sub-environment after the
    other. What returns are: the estimates plus `value`.

    Args:
        reward: (B,), as all others.
        discount: gamma, zero where the episode terminated; truncation keeps it.
        next_value: of the observation after the decision, which is the true last one where the episode ended.
        goes_on: the row after this one is the same episode's next decision.
        trace: lambda, in 0 .. 1.
    """
    error = (reward + discount * next_value - value).tolist()
    weight = (discount * trace * goes_on).tolist()
    later = 0.0
    for row in range(len(error) - 1, -1, -1):
        later = error[row] = error[row] + weight[row] * later
    return torch.tensor(error, dtype=value.dtype, device=value.device)


def normalised(advantage: Tensor) -> Tensor:
    """Of a whole batch: zero mean, unit deviation; zeros where all are the same."""
    apart = advantage - advantage.mean()
    return apart / apart.square().mean().sqrt().clamp_min(_SMALLEST_DEVIATION)


class GroupAdvantages(NamedTuple):
    """Of M episodes."""

    advantage: Tensor
    """(M,), zero in groups without spread."""
    counts: Tensor
    """b1 (M,): the episode's group has spread, so that there is something to learn from it."""
    groups: int
    without_spread: int
    """Groups of which nothing can be learned."""


def group_advantages(returns: Tensor, group: Tensor) -> GroupAdvantages:
    """A return (M,) against the mean of its group, over the group's deviation.

    A group is of episodes from the same start. Where all of them end alike there is no gradient.

    Args:
        group: i8 (M,), which group an episode is of.
    """
    names, index = group.unique(return_inverse=True)
    size = returns.new_zeros(len(names)).index_add(0, index, torch.ones_like(returns))
    mean = returns.new_zeros(len(names)).index_add(0, index, returns) / size
    apart = returns - mean[index]
    deviation = (returns.new_zeros(len(names)).index_add(0, index, apart.square()) / size).sqrt()
    # Returns that are equal but for rounding have none.
    has_spread = deviation > 1e-6 * mean.abs().clamp_min(1.0)
    counts = has_spread[index]
    advantage = torch.where(counts, apart / deviation[index].clamp_min(_SMALLEST_DEVIATION), 0.0)
    return GroupAdvantages(advantage, counts, len(names), int((~has_spread).sum()))
