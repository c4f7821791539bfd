"""The arithmetic of PPO and GRPO as pure functions.

PPO: Schulman et al. 2017, arXiv 1707.06347, with GAE: 2015, arXiv 1506.02438. GRPO: Shao et al. 2024,
arXiv 2402.03300.
"""

from typing import NamedTuple

import torch
from torch import Tensor

_SMALLEST_DEVIATION = 1e-8


def advantages(
    reward: Tensor, discount: Tensor, value: Tensor, next_value: Tensor, ended: Tensor, trace: float
) -> Tensor:
    """Generalised advantage estimates (T, N) of T decisions, one after the other, in N sub-environments.

    What returns are: the estimates plus `value`.

    Args:
        reward: (T, N), as all others.
        discount: gamma, zero where the episode terminated; truncation keeps it.
        next_value: of the observation after the decision, which is the true last one where the episode ended.
        ended: the episode ended with the decision; what follows belongs to another.
        trace: lambda, in 0 .. 1.
    """
    found = torch.zeros_like(reward)
    error = reward + discount * next_value - value
    later = torch.zeros_like(reward[0])
    for t in range(len(reward) - 1, -1, -1):
        later = error[t] + discount[t] * trace * torch.where(ended[t], 0.0, later)
        found[t] = later
    return found


def normalised(advantage: Tensor) -> Tensor:
    """Of a whole batch: zero mean, unit deviation; zeros where all are the same."""
    apart = advantage - advantage.mean()
    return apart / apart.square().mean().sqrt().clamp_min(_SMALLEST_DEVIATION)


class PolicyLoss(NamedTuple):
    """Each is one number."""

    loss: Tensor
    clipped: Tensor
    """Share of the rows whose ratio is outside of the limits."""
    kl: Tensor
    """Of the policy that acted to the new one, estimated over the rows."""


def policy_loss(log_prob: Tensor, old_log_prob: Tensor, advantage: Tensor, clip: float) -> PolicyLoss:
    """The negative of PPO's objective, mean of min(ratio * A, clipped ratio * A) over rows (B,)."""
    ratio = (log_prob - old_log_prob).exp()
    limited = ratio.clamp(1 - clip, 1 + clip)
    loss = -torch.minimum(ratio * advantage, limited * advantage).mean()
    with torch.no_grad():
        outside = ((ratio - 1).abs() > clip).float().mean()
    return PolicyLoss(loss, outside, divergence(old_log_prob.detach(), log_prob.detach()).mean())


def divergence(log_prob: Tensor, other: Tensor) -> Tensor:
    """An estimate (B,) of KL(policy, other) from rows of the policy, which is never below zero:
    other / policy - 1 - log(other / policy) (Schulman, Approximating KL Divergence)."""
    apart = other - log_prob
    return apart.exp() - 1 - apart


def value_loss(value: Tensor, old_value: Tensor, wanted: Tensor, clip: float | None) -> Tensor:
    """Half the mean squared error over rows (B,); with `clip`, that of a value that moved by at most `clip`
    from the old one counts where it is the larger."""
    error = (value - wanted).square()
    if clip is not None:
        near = old_value + (value - old_value).clamp(-clip, clip)
        error = torch.maximum(error, (near - wanted).square())
    return error.mean() / 2


class GroupAdvantages(NamedTuple):
    """Of M episodes."""

    advantage: Tensor
    """(M,), zero in groups without spread."""
    counts: Tensor
    """b1 (M,): the episode's group has spread, so that there is something to learn from it."""
    dropped: int
    """Groups without spread."""


def group_advantages(returns: Tensor, group: Tensor) -> GroupAdvantages:
    """A return (M,) against the mean of its group, over the group's deviation.

    A group is of episodes from the same start. Where all of them end alike there is no gradient.

    Args:
        group: i8 (M,), which group an episode is of.
    """
    names, index = group.unique(return_inverse=True)
    size = torch.zeros(len(names)).index_add(0, index, torch.ones(len(group)))
    mean = torch.zeros(len(names)).index_add(0, index, returns) / size
    apart = returns - mean[index]
    deviation = (torch.zeros(len(names)).index_add(0, index, apart.square()) / size).sqrt()
    has_spread = deviation > _SMALLEST_DEVIATION
    counts = has_spread[index]
    advantage = torch.where(counts, apart / deviation[index].clamp_min(_SMALLEST_DEVIATION), 0.0)
    return GroupAdvantages(advantage, counts, int((~has_spread).sum()))
