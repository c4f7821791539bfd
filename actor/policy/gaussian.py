"""The policy of PPO and GRPO: observation and base action -> Gaussian of a residual."""

import math

import torch
from torch import Tensor, nn

from actor.policy.residual import ResidualActor, ResidualSample
from actor.policy.sight import Sizes
from config.on_policy import OnPolicyConfig
from config.residual import ResidualConfig

LOG_STD_MIN, LOG_STD_MAX = -3.0, 1.0


class GaussianResidual(ResidualActor):
    """Not squashed: what is sent is what was drawn, so its probability can be computed from it. The sum with
    the base's action is cut to [-1, 1] when it is executed. The deviation depends on no observation."""

    def __init__(self, algo: OnPolicyConfig, observation_dim: int, action_dim: int) -> None:
        super().__init__(algo, observation_dim, action_dim)
        self._log_std = nn.Parameter(torch.full((self.outputs,), math.log(algo.initial_std)))

    @property
    def log_std(self) -> Tensor:
        """(outputs,)"""
        return self._log_std.clamp(LOG_STD_MIN, LOG_STD_MAX)

    def forward(self, observation: Tensor, base_plan: Tensor) -> tuple[Tensor, Tensor]:
        """Mean (B, outputs) and log standard deviation (outputs,)."""
        return super().forward(observation, base_plan)[0], self.log_std

    def mode(self, observation: Tensor, base_plan: Tensor) -> Tensor:
        """The mean (B, k * A)."""
        return self.spread(self(observation, base_plan)[0])

    def log_prob(self, observation: Tensor, base_plan: Tensor, residual: Tensor) -> Tensor:
        """Of residuals (B, k * A) that were drawn: (B,)."""
        mean, log_std = self(observation, base_plan)
        return Drawn(self.gathered(residual), mean, log_std).log_prob

    def entropy(self) -> Tensor:
        """Of each decision's distribution: one number."""
        return (self.log_std + 0.5 * math.log(2 * math.pi * math.e)).sum()

    def _sampled(self, mean: Tensor, log_std: Tensor, noise: Tensor) -> ResidualSample:
        return ResidualSample(self.spread(mean + log_std.exp() * noise), _log_density(noise, log_std))


class Drawn:
    """What a Gaussian of `mean` (B, outputs) and `log_std` (outputs,) has drawn: (B, outputs)."""

    def __init__(self, drawn: Tensor, mean: Tensor, log_std: Tensor) -> None:
        self._inverse = (-log_std).exp()
        self._noise = (drawn - mean) * self._inverse
        self.log_prob = _log_density(self._noise, log_std)
        """(B,)"""

    def gradients(self, by_log_prob: Tensor) -> tuple[Tensor, Tensor]:
        """By mean and log standard deviation, of what has this gradient (B,) by `log_prob`."""
        by_row = by_log_prob[:, None]
        return by_row * self._noise * self._inverse, (by_row * (self._noise.square() - 1)).sum(0)


def _log_density(noise: Tensor, log_std: Tensor) -> Tensor:
    return (-0.5 * noise.square() - log_std - 0.5 * math.log(2 * math.pi)).sum(-1)


def make_residual(algo: ResidualConfig, sizes: Sizes, action_dim: int) -> ResidualActor:
    """The network that these settings describe."""
    if isinstance(algo, OnPolicyConfig):
        return GaussianResidual(algo, sizes.observation, action_dim)
    return ResidualActor(algo, sizes.observation, action_dim, sizes.features)
