"""The losses of residual SAC as pure functions (Haarnoja et al. 2018; Policy Decorator, 2412.13630)."""

import torch
from torch import Tensor, nn

from config.reach import Scale


def of_frames(scale: Scale, frames: int, device: torch.device) -> float | Tensor:
    """residual_scale of all numbers of a residual of `frames` actions: one for all, or (frames * A,)."""
    return scale if isinstance(scale, float) else torch.tensor(scale, device=device).repeat(frames)


def executed_residual(base_plan: Tensor, residual: Tensor, scale: float | Tensor, clip: bool) -> Tensor:
    """The residual that the environment executes: with `clip`, what is left of it after base +
    scale * residual was cut to [-1, 1]; unscaled, (B, k * A)."""
    if not clip:
        return residual
    # Within (-1 - base) / scale and (1 - base) / scale: of the residual's gradient, one operator.
    lowest = (base_plan + 1) / -scale
    return residual.clamp(lowest, lowest + 2 / scale)


def critic_features(base_plan: Tensor, residual: Tensor, scale: float | Tensor, kind: str) -> Tensor:
    """What the critic sees of the action: `sum` or `residual`, that alone, (B, k * A), or `concat`
    (B, 2 * k * A)."""
    if kind == "residual":
        return residual
    if kind == "sum":
        return base_plan + scale * residual
    return torch.cat([base_plan, residual], dim=-1)


def soft_target(
    reward: Tensor,
    discount: Tensor,
    next_q: Tensor,
    next_log_prob: Tensor,
    temperature: Tensor,
    clip: tuple[float, float] | None,
) -> Tensor:
    """r + discount * (min Q' - temperature * log pi), (B,), clipped to the reachable range.

    Args:
        discount: gamma^m, zero where the episode terminated; truncation keeps it.
        next_q: target critics' values (M, B), of which the minimum counts.
    """
    value = next_q.amin(dim=0) - temperature * next_log_prob
    target = reward + discount * value
    return target if clip is None else target.clamp(*clip)


def critic_loss(q: Tensor, target: Tensor) -> Tensor:
    """Mean squared error, summed over the members: q (N, B), target (B,)."""
    return nn.functional.mse_loss(q, target.expand_as(q), reduction="sum") / q.shape[1]


def pessimistic(q: Tensor, pessimism: float | None) -> Tensor:
    """What the actor maximises, (B,) from (N, B): the members' minimum (None, as published), or their
    mean less `pessimism` standard deviations, so that disagreement is never worth a residual."""
    if pessimism is None:
        return q.min(dim=0).values
    if pessimism == 0 or len(q) == 1:
        return q.mean(dim=0)
    return q.mean(dim=0) - pessimism * disagreement(q)


def disagreement(q: Tensor) -> Tensor:
    """The members' standard deviation (B,), 0 of one member alone; its gradient is 0 where they agree."""
    # As `q.std(dim=0)`, which is slow over so few numbers on a CPU.
    variance = (q - q.mean(dim=0)).square().sum(dim=0) / max(len(q) - 1, 1)
    return variance.clamp_min(1e-30).sqrt()


def actor_loss(q: Tensor, log_prob: Tensor, temperature: Tensor, residual: Tensor, penalty: float) -> Tensor:
    """temperature * log pi - Q + penalty * mean squared residual.

    Args:
        q: (B,), already reduced over the members.
        residual: (B, k * A). The penalty keeps the policy at the base where the critic sees no gain.
    """
    return (temperature * log_prob - q).mean() + penalty * residual.square().mean()


def temperature_loss(log_temperature: Tensor, log_prob: Tensor, target_entropy: float) -> Tensor:
    """-exp(log temperature) * (log pi + target entropy), as the published implementation has it."""
    return (-log_temperature.exp() * (log_prob.detach() + target_entropy)).mean()
