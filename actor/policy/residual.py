"""The trained network: observation and base action -> residual in [-1, 1]."""

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

from actor.policy.native.perceptrons import Perceptrons, Seen
from actor.policy.pictures import PictureEncoder
from actor.policy.sight import Sight, Sizes
from config.reach import changed_dims
from config.residual import ResidualConfig

LOG_STD_MIN, LOG_STD_MAX = -20.0, 2.0


class ResidualSample(NamedTuple):
    """A residual (B, k * A) and its log-probability (B,); zero for a deterministic head."""

    residual: Tensor
    log_prob: Tensor


class ResidualActor(nn.Module):
    """Actor of Policy Decorator (arXiv 2412.13630, section 4): squashed Gaussian or deterministic.

    It takes rows as `sight` sees them, and shifts and scales them by two buffers, so that whoever receives
    the weights receives the scaling with them. They start as the identity.

    Args:
        features_dim: of the base's features, behind the observation in a row.
    """

    observation_mean: Tensor
    observation_scale: Tensor
    places: Tensor

    def __init__(
        self, algo: ResidualConfig, observation_dim: int, action_dim: int, features_dim: int = 0
    ) -> None:
        super().__init__()
        looks_at = algo.looks_at if "pictures" in algo.sees else None
        self.encoder = None if looks_at is None else PictureEncoder(looks_at)
        """Of pictures, for what it makes of them to stand behind observation and features in a row. Critics
        train it."""
        self.looks_at = looks_at
        pictures = 0 if looks_at is None else looks_at.width
        self.sight = Sight(algo.sees, algo, Sizes(observation_dim, features_dim, pictures))
        observation_dim = self.sight.dim
        self.frames = algo.residual_every
        plan_dim = self.frames * action_dim
        chosen = changed_dims(algo.residual_dims, action_dim)
        self.outputs = len(chosen) * (1 if algo.residual_shape == "constant" else self.frames)
        # For each action dimension its place among those that the residual may change, else one behind them.
        places = [chosen.index(dim) if dim in chosen else len(chosen) for dim in range(action_dim)]
        self.register_buffer("places", torch.tensor(places), persistent=False)
        self._chosen = len(chosen)
        self.gaussian = algo.output == "gaussian"
        self.sees_base = algo.actor_input == "obs_base_action"
        self.register_buffer("observation_mean", torch.zeros(observation_dim))
        self.register_buffer("observation_scale", torch.ones(observation_dim))
        inputs = width = observation_dim + (plan_dim if self.sees_base else 0)
        layers: list[nn.Module] = []
        for hidden in algo.hidden:
            layers.append(nn.Linear(width, hidden))
            layers.append(nn.ReLU())
            width = hidden
        self.trunk = nn.Sequential(*layers)
        self.head = nn.Linear(width, self.outputs * (2 if self.gaussian else 1))
        # Small or zero, so that training starts from the base policy.
        nn.init.orthogonal_(self.head.weight, gain=algo.last_layer_gain)
        nn.init.zeros_(self.head.bias)
        self.stack = [*self.trunk.parameters(), *self.head.parameters()]
        self.register_load_state_dict_pre_hook(_without_reach)
        widths = (inputs, *algo.hidden, self.head.out_features)
        self._native = Perceptrons(widths, normed=False, by_output=True)

    def forward(self, observation: Tensor, base_plan: Tensor) -> tuple[Tensor, Tensor | None]:
        """Mean before squashing (B, k * A) and log standard deviation, None if deterministic.

        Args:
            observation: what is seen of the newest frame (B, sight.dim).
            base_plan: the base's actions of the decision, flat (B, k * A).
        """
        rest = base_plan if self.sees_base else None
        seen = Seen(observation, self.observation_mean, self.observation_scale, rest)
        if self._native.apply_to(seen, self.stack):
            out = self._native(seen, self.stack).squeeze(0)
        else:
            out = self._with_torch(observation, rest)
        if not self.gaussian:
            return out, None
        mean, raw = out.chunk(2, dim=-1)
        span = (LOG_STD_MAX - LOG_STD_MIN) / 2
        return mean, LOG_STD_MIN + span * (torch.tanh(raw) + 1)

    def _with_torch(self, observation: Tensor, rest: Tensor | None) -> Tensor:
        x = (observation - self.observation_mean) * self.observation_scale
        # With mixed precision the layers alone are of low precision.
        return self.head(self.trunk(x if rest is None else torch.cat([x, rest], dim=-1))).float()

    @property
    def changes(self) -> Tensor:
        """(A,) bool: the action dimensions that the residual may change."""
        return self.places < self._chosen

    def spread(self, residual: Tensor) -> Tensor:
        """The network's output (B, outputs) as a whole decision's residual (B, k * A): zero in the action
        dimensions that it may not change, and the same in every frame with `residual_shape: constant`."""
        rows, actions = len(residual), len(self.places)
        full = residual.view(rows, -1, self._chosen)
        if self._chosen < actions:
            full = nn.functional.pad(full, (0, 1)).index_select(-1, self.places)
        return full.expand(rows, self.frames, actions).reshape(rows, -1)

    def gathered(self, residual: Tensor) -> Tensor:
        """The network's output (B, outputs) that `spread` made a decision's residual (B, k * A)."""
        full = residual.view(len(residual), self.frames, len(self.places))[:, : self.outputs // self._chosen]
        if self._chosen == len(self.places):
            return full.flatten(1)
        chosen = self.places.argsort(stable=True)[: self._chosen]
        return full.index_select(-1, chosen).flatten(1)

    def limit(self, residual: Tensor) -> Tensor:
        """Cut to [-1, 1]."""
        return residual.clamp(-1, 1)

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
        """A reparametrised sample, with its log-probability."""
        mean, log_std = self(observation, base_plan)
        if log_std is None:
            return ResidualSample(self.spread(torch.tanh(mean)), mean.new_zeros(mean.shape[0]))
        if noise is None:
            noise = torch.randn(mean.shape, generator=generator, device=mean.device, dtype=mean.dtype)
        return self._sampled(mean, log_std, noise)

    def _sampled(self, mean: Tensor, log_std: Tensor, noise: Tensor) -> ResidualSample:
        """log pi over the unscaled residual, with the tanh correction (Haarnoja et al. 2018, appendix C,
        eq. 21) and the published 1e-6 inside the logarithm."""
        residual = torch.tanh(mean + log_std.exp() * noise)
        gaussian = -0.5 * noise.square() - log_std - 0.5 * math.log(2 * math.pi)
        log_prob = gaussian - torch.log(1 - residual.square() + 1e-6)
        return ResidualSample(self.spread(residual), log_prob.sum(-1))


def _without_reach(_: nn.Module, state: dict[str, Tensor], prefix: str, *__: object) -> None:
    """Weights of the release before have `reach`: the share of residual_scale that residuals use."""
    reach = float(state.pop(f"{prefix}reach", torch.ones(1)))
    if reach < 1:
        raise RuntimeError(f"this residual uses {reach:.2f} of algo.residual_scale, this release all of it")
