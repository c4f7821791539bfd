"""The trained network: observation and base action -> residual in [-1, 1]."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

from actor.policy.native.perceptrons import Perceptrons, Seen
from actor.policy.relations import Relations
from config.algo import AlgoConfig
from config.section import ConfigError

LOG_STD_MAX = 2.0


class ResidualSample(NamedTuple):
    """A residual (B, k * A) and its log-probability (B,); zero for a deterministic head."""

    residual: Tensor
    log_prob: Tensor


class ResidualActor(nn.Module):
    """Actor of Policy Decorator (arXiv 2412.13630, section 4): squashed Gaussian or deterministic.

    It takes observations as `related` makes them, and shifts and scales them by two buffers, so that
    whoever receives the weights receives the scaling with them. They start as the identity. So does
    `reach`, the share of [-1, 1] that residuals may use: with it the learner lets the residual grow.
    """

    def __init__(self, algo: AlgoConfig, observation_dim: int, action_dim: int) -> None:
        super().__init__()
        self.related = Relations(algo.relations, algo.relation_step, observation_dim)
        observation_dim = self.related.observation_dim
        self.frames = algo.residual_every
        numbers = self.frames * action_dim
        chosen = tuple(range(action_dim)) if algo.residual_dims is None else algo.residual_dims
        if any(not 0 <= number < action_dim for number in chosen):
            raise ConfigError(
                f"algo.residual_dims={list(chosen)} must lie in 0 .. {action_dim - 1}: the task has "
                f"{action_dim} action numbers"
            )
        # A held residual is one action's worth of numbers, the same for every frame of the decision.
        self.outputs = len(chosen) * (1 if algo.residual_shape == "held" else self.frames)
        # For each action number its place among those that the residual may correct, else one behind them.
        places = [chosen.index(number) if number in chosen else len(chosen) for number in range(action_dim)]
        self.register_buffer("places", torch.tensor(places), persistent=False)
        self._chosen = len(chosen)
        self.gaussian = algo.head == "gaussian"
        self.sees_base = algo.actor_input == "obs_base_action"
        self.log_std_min = algo.log_std_min
        self.register_buffer("observation_mean", torch.zeros(observation_dim))
        self.register_buffer("observation_scale", torch.ones(observation_dim))
        self.register_buffer("reach", torch.ones(1))
        width = observation_dim + (numbers if self.sees_base else 0)
        layers: list[nn.Module] = []
        for hidden in algo.hidden:
            layers.append(nn.Linear(width, hidden))
            if algo.actor_layer_norm:
                layers.append(nn.LayerNorm(hidden))
            layers.append(nn.ReLU())
            width = hidden
        self.trunk = nn.Sequential(*layers)
        self.head = nn.Linear(width, self.outputs * (2 if self.gaussian else 1))
        # Small or zero, so that training starts from the base policy.
        nn.init.orthogonal_(self.head.weight, gain=algo.last_layer_gain)
        nn.init.zeros_(self.head.bias)
        self.stack = [*self.trunk.parameters(), *self.head.parameters()]
        inputs = observation_dim + (numbers if self.sees_base else 0)
        self._native = Perceptrons(
            (inputs, *algo.hidden, self.head.out_features), normed=algo.actor_layer_norm, by_output=True
        )

    def forward(self, observation: Tensor, base_plan: Tensor) -> tuple[Tensor, Tensor | None]:
        """Mean before squashing (B, k * A) and log standard deviation, None if deterministic.

        Args:
            observation: newest frame (B, related.observation_dim).
            base_plan: the base's actions of the decision, flat (B, k * A).
        """
        rest = base_plan if self.sees_base else None
        seen = Seen(observation, self.observation_mean, self.observation_scale, rest)  # type: ignore[arg-type]
        if self._native.apply_to(seen, self.stack):
            out = self._native(seen, self.stack).squeeze(0)
        else:
            out = self._with_torch(observation, rest)
        if not self.gaussian:
            return out, None
        mean, raw = out.chunk(2, dim=-1)
        span = (LOG_STD_MAX - self.log_std_min) / 2
        return mean, self.log_std_min + span * (torch.tanh(raw) + 1)

    def _with_torch(self, observation: Tensor, rest: Tensor | None) -> Tensor:
        x = (observation - self.observation_mean) * self.observation_scale
        return self.head(self.trunk(x if rest is None else torch.cat([x, rest], dim=-1)))

    def spread(self, residual: Tensor) -> Tensor:
        """The network's numbers (B, outputs) as a whole decision's (B, k * A): zero in the action
        numbers that it may not correct, the same in every frame if it is held, within `reach`."""
        rows, actions = len(residual), len(self.places)
        full = (residual * self.reach).view(rows, -1, self._chosen)
        if self._chosen < actions:
            full = nn.functional.pad(full, (0, 1)).index_select(-1, self.places)
        return full.expand(rows, self.frames, actions).reshape(rows, -1)

    def limit(self, residual: Tensor) -> Tensor:
        """Cut to [-reach, reach]."""
        return residual.clamp(-self.reach, self.reach)

    def mode(self, observation: Tensor, base_plan: Tensor) -> Tensor:
        """The deterministic residual tanh(mean), (B, k * A)."""
        return self.spread(torch.tanh(self(observation, base_plan)[0]))

    def sample(
        self,
        observation: Tensor,
        base_plan: Tensor,
        generator: torch.Generator | None = None,
        noise: Tensor | None = None,
    ) -> ResidualSample:
        """A reparametrised sample; log pi over the unscaled residual, with the tanh correction
        (Haarnoja et al. 2018, appendix C, eq. 21) and the published 1e-6 inside the logarithm."""
        mean, log_std = self(observation, base_plan)
        if log_std is None:
            return ResidualSample(self.spread(torch.tanh(mean)), mean.new_zeros(mean.shape[0]))
        if noise is None:
            noise = torch.randn(mean.shape, generator=generator, device=mean.device, dtype=mean.dtype)
        residual = torch.tanh(mean + log_std.exp() * noise)
        gaussian = -0.5 * noise.square() - log_std - 0.5 * math.log(2 * math.pi)
        log_prob = gaussian - torch.log(1 - residual.square() + 1e-6)
        return ResidualSample(self.spread(residual), log_prob.sum(-1))


def describe(algo: AlgoConfig) -> str:
    """The network in words; learner and actors compare it."""
    norm = " layer_norm" if algo.actor_layer_norm else ""
    dims = "all" if algo.residual_dims is None else list(algo.residual_dims)
    related = "".join(f", {relation.text}" for relation in algo.relations)
    seen = f" relations in {algo.relation_step} m{related}" if related else ""
    return f"{algo.head} {algo.residual_shape} dims {dims} {algo.actor_input} {list(algo.hidden)}{norm}{seen}"
