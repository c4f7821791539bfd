"""In which decisions the residual acts while a run collects experience, and the noise on it (`Behaviour`)."""

from collections.abc import Sequence

import torch
from torch import Tensor

from actor.policy.noise import EpisodeSeeds, Use, normal, uniform
from actor.policy.residual import ResidualActor
from actor.policy.tiles import in_tiles
from config.main import Config
from config.reach import changed_dims
from protocol.messages import Behaviour


class PushedBase:
    """Stands for the residual of a base that plays alone: zero, so that noise is all that is added to the
    base's actions, the same in all frames of a decision.

    Args:
        dims: action dimensions that get noise.
    """

    gaussian = False

    def __init__(self, dims: Sequence[int], frames: int, action_dim: int, device: torch.device) -> None:
        self.changes = torch.zeros(action_dim, dtype=torch.bool, device=device)
        self.changes[list(dims)] = True
        self.outputs, self._frames = len(dims), frames

    def spread(self, residual: Tensor) -> Tensor:
        """(B, outputs) as a whole decision's residual (B, k * A)."""
        full = residual.new_zeros(len(residual), self._frames, len(self.changes))
        full[:, :, self.changes] = residual[:, None]
        return full.flatten(1)

    def limit(self, residual: Tensor) -> Tensor:
        """Cut to [-1, 1]."""
        return residual.clamp(-1, 1)


def pushed_base(config: Config, action_dim: int) -> PushedBase | None:
    """None: actors add no noise to a base that plays alone.
    Raises ConfigError: it would be added to dimensions that actions do not have."""
    dims = changed_dims(config.algo.pushed_dims, action_dim)
    device = torch.device(config.actor.device)
    return PushedBase(dims, config.algo.residual_every, action_dim, device) if dims else None


class Exploration:
    """Masked and noisy residuals for N sub-environments, with each episode's own random numbers.
    `ladder`: share of the noise that each sub-environment gets where `noise_ladder` is set."""

    def __init__(
        self,
        residual: ResidualActor | PushedBase,
        episodes: EpisodeSeeds,
        ladder: Sequence[float],
        device: torch.device,
    ) -> None:
        self._residual, self._episodes, self._device = residual, episodes, device
        self._ladder = torch.tensor(ladder, device=device)
        self._noise = torch.zeros(len(ladder), residual.outputs, device=device)
        self._noise_left = torch.zeros(len(ladder), dtype=torch.int64, device=device)
        self._episode_acts = torch.zeros(len(ladder), dtype=torch.bool, device=device)

    def begin(self, rows: Tensor, behaviour: Behaviour) -> None:
        """Begin episodes in `rows`: without noise, and with a new mask if masks are for whole episodes."""
        self._noise_left[rows] = 0
        if behaviour.mask_episodes:
            self._episode_acts[rows] = self._happens(rows, Use.MASK, behaviour.mask_probability)

    def acts(self, rows: Tensor, behaviour: Behaviour) -> Tensor:
        """(R,) bool: the residual is not masked in this decision."""
        if behaviour.mask_episodes:
            return self._episode_acts[rows]
        return self._happens(rows, Use.MASK, behaviour.mask_probability)

    def choose(self, rows: Tensor, observation: Tensor, base_plan: Tensor, behaviour: Behaviour) -> Tensor:
        """Residuals (R, k * A) for observations (R, O + E), features behind them, and base plans (R, k * A);
        zero where masked."""
        mask = self.acts(rows, behaviour)
        if behaviour.uniform:
            drawn = uniform(self._episodes.keys(rows, Use.UNIFORM_RESIDUAL), self._residual.outputs)
            chosen = self._residual.spread(2 * torch.from_numpy(drawn).to(self._device) - 1)
            return chosen * mask[:, None]
        push = self._push(rows, behaviour)  # it goes on even if the mask hides it
        if not mask.any():
            return torch.zeros_like(base_plan)
        chosen = self._sampled(rows, observation, base_plan) + self._residual.spread(push)
        return self._residual.limit(chosen) * mask[:, None]

    def _sampled(self, rows: Tensor, observation: Tensor, base_plan: Tensor) -> Tensor:
        residual = self._residual
        if isinstance(residual, PushedBase):
            return torch.zeros_like(base_plan)
        if not residual.gaussian:
            return best_residual(residual, observation, base_plan)
        noise = self._normal(rows, Use.SAMPLED_RESIDUAL)
        return in_tiles(
            lambda o, p, n: residual.sample(residual.sight(o), p, noise=n).residual,
            observation, base_plan, noise,
        )  # fmt: skip

    def _push(self, rows: Tensor, behaviour: Behaviour) -> Tensor:
        """Gaussian noise (R, outputs) that lasts for `noise_decisions` decisions once it has begun.

        A push over many decisions has an effect; independent pushes of the same size cancel.
        """
        starts = self._happens(rows, Use.NOISE_STARTS, behaviour.noise_probability)
        starts &= self._noise_left[rows] == 0
        if starts.any():
            first = rows[starts]
            std = behaviour.noise_std * (self._ladder[first, None] if behaviour.noise_ladder else 1.0)
            self._noise[first] = self._normal(first, Use.NOISE) * std
            self._noise_left[first] = behaviour.noise_decisions
        left = self._noise_left[rows]
        self._noise_left[rows] = (left - 1).clamp_min(0)
        return self._noise[rows] * (left > 0)[:, None]

    def _happens(self, rows: Tensor, use: Use, probability: float) -> Tensor:
        drawn = torch.from_numpy(uniform(self._episodes.keys(rows, use), 1)[:, 0])
        return drawn.to(self._device) < probability

    def _normal(self, rows: Tensor, use: Use) -> Tensor:
        drawn = normal(self._episodes.keys(rows, use), self._residual.outputs)
        return torch.from_numpy(drawn).to(self._device)


def best_residual(residual: ResidualActor, observation: Tensor, base_plan: Tensor) -> Tensor:
    """Deterministic residuals (R, k * A) for newest observations (R, O + E) and base plans (R, k * A)."""
    return in_tiles(lambda o, p: residual.mode(residual.sight(o), p), observation, base_plan)
