"""PPO's and GRPO's losses as pure functions.

PPO: Schulman et al. 2017, arXiv 1707.06347. GRPO: Shao et al. 2024, arXiv 2402.03300.
"""

from typing import NamedTuple

import torch
from torch import Tensor

# Beyond it a ratio is constant: a decision that was all but impossible must not overflow.
_MOST_APART = 20.0


class PolicyLoss(NamedTuple):
    """Each is one number."""

    loss: Tensor
    clipped: Tensor
    """Share of the rows whose ratio is outside of the limits."""
    kl: Tensor
    """Of the policy that acted to the new one, estimated over the rows."""


def policy_loss(log_prob: Tensor, old_log_prob: Tensor, advantage: Tensor, clip: float) -> PolicyLoss:
    """The negative of PPO's objective, mean of min(ratio * A, clipped ratio * A) over rows (B,)."""
    ratio = (log_prob - old_log_prob).clamp(-_MOST_APART, _MOST_APART).exp()
    limited = ratio.clamp(1 - clip, 1 + clip)
    loss = -torch.minimum(ratio * advantage, limited * advantage).mean()
    with torch.no_grad():
        outside = ((ratio - 1).abs() > clip).float().mean()
    return PolicyLoss(loss, outside, divergence(old_log_prob.detach(), log_prob.detach()).mean())


def divergence(log_prob: Tensor, other: Tensor) -> Tensor:
    """An estimate (B,) of KL(policy, other) from rows of the policy, which is never below zero:
    other / policy - 1 - log(other / policy) (Schulman, Approximating KL Divergence)."""
    apart = (other - log_prob).clamp(-_MOST_APART, _MOST_APART)
    return apart.exp() - 1 - apart


def value_loss(value: Tensor, old_value: Tensor, wanted: Tensor, clip: float | None) -> Tensor:
    """Half the mean squared error over rows (B,); with `clip`, that of a value that moved by at most `clip`
    from the old one counts where it is the larger."""
    error = (value - wanted).square()
    if clip is not None:
        near = old_value + (value - old_value).clamp(-clip, clip)
        error = torch.maximum(error, (near - wanted).square())
    return error.mean() / 2
