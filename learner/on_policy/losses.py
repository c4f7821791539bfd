"""PPO's and GRPO's losses as pure functions, each with its gradient.

On minibatches of tens of rows a node of torch's graph costs more than its arithmetic, so that gradients of
losses are written down; the graph is that of the networks alone.

PPO: Schulman et al. 2017, arXiv 1707.06347. GRPO: Shao et al. 2024, arXiv 2402.03300.
"""

from typing import NamedTuple

import torch
from torch import Tensor

# Beyond it a ratio is constant: a decision that was all but impossible must not overflow.
_MOST_APART = 20.0


class Loss(NamedTuple):
    """A loss and its gradient by one number of each row."""

    loss: Tensor
    """One number."""
    gradient: Tensor
    """(B,)"""


class PolicyLoss(NamedTuple):
    """Of rows (B,)."""

    loss: Tensor
    """One number."""
    by_log_prob: Tensor
    """(B,), the loss's gradient by the new policy's log-probabilities."""
    kl: Tensor
    """Of the policy that acted to the new one, estimated over the rows: one number."""
    ratio: Tensor
    """(B,), of the new policy's probability to that of the policy that acted."""

    def clipped(self, clip: float) -> Tensor:
        """Share of the rows whose ratio is outside of the limits."""
        return ((self.ratio - 1).abs() > clip).float().mean()


@torch.no_grad()
def policy_loss(log_prob: Tensor, old_log_prob: Tensor, advantage: Tensor, clip: float) -> PolicyLoss:
    """The negative of PPO's objective, mean of min(ratio * A, clipped ratio * A) over rows (B,)."""
    apart = log_prob - old_log_prob
    near = apart.clamp(-_MOST_APART, _MOST_APART)
    ratio = near.exp()
    gain, limited = ratio * advantage, ratio.clamp(1 - clip, 1 + clip) * advantage
    # A row whose clipped ratio counts does not move, nor one that is too far away for a ratio.
    moves = (gain <= limited) & (near == apart)
    return PolicyLoss(
        -torch.minimum(gain, limited).mean(),
        gain * moves / -len(gain),
        (ratio - 1 - near).mean(),  # as `divergence`
        ratio,
    )


@torch.no_grad()
def reference_loss(log_prob: Tensor, reference: Tensor) -> Loss:
    """The mean `divergence` of rows (B,) from a reference policy; gradient by `log_prob`."""
    apart = reference - log_prob
    near = apart.clamp(-_MOST_APART, _MOST_APART)
    gradient = (1 - near.exp()) * (near == apart) / len(apart)
    return Loss(divergence(log_prob, reference).mean(), gradient)


def divergence(log_prob: Tensor, other: Tensor) -> Tensor:
    """An estimate (B,) of KL(policy, other) from rows of the policy, which is never below zero:
    other / policy - 1 - log(other / policy) (Schulman, Approximating KL Divergence)."""
    apart = (other - log_prob).clamp(-_MOST_APART, _MOST_APART)
    return apart.exp() - 1 - apart


@torch.no_grad()
def value_loss(value: Tensor, old_value: Tensor, wanted: Tensor, clip: float | None) -> Loss:
    """Half the mean squared error over rows (B,); with `clip`, that of a value that moved by at most `clip`
    from the old one counts where it is the larger. Gradient by `value`."""
    error = value - wanted
    if clip is None:
        return Loss(error.square().mean() / 2, error / len(error))
    moved = value - old_value
    near = old_value + moved.clamp(-clip, clip) - wanted
    counts = (error.square() >= near.square()) | (moved.abs() <= clip)
    return Loss(torch.maximum(error.square(), near.square()).mean() / 2, error * counts / len(error))
