"""Base plus scaled, masked residual, with a plan and a cursor for every sub-environment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Self

import torch
from torch import Tensor

from actor.policy.contract import BasePolicy
from actor.policy.images import NO_IMAGES, ImageHistory, Images
from actor.policy.residual import ResidualActor
from config.main import Config
from protocol.messages import Behaviour

BASE_ALONE = Behaviour(
    mask_probability=0.0,
    mask_episodes=False,
    uniform=False,
    noise_std=0.0,
    noise_ladder=False,
    noise_probability=1.0,
    noise_hold=1,
    decisions=0,
)


@dataclass(frozen=True)
class Chosen:
    """What the policy did in one frame, for N sub-environments.

    Attributes:
        action: (N, A) to execute, clipped to [-1, 1].
        deciding: (N,) bool: a decision starts with this frame.
        base_plan: (N, k, A) of the decision under way.
        residual: (N, k, A) mask * a_res of the decision under way, unscaled.
        version: (N,) int64, weights that made the decision.
        optional: values of optional columns of `protocol.experience`, (N, ...) each.
    """

    action: Tensor
    deciding: Tensor
    base_plan: Tensor
    residual: Tensor
    version: Tensor
    optional: Mapping[str, Tensor] = field(default_factory=dict)


class DecoratedPolicy:
    """a = a_base + residual_scale * m * a_res (Policy Decorator, section 4.1).

    A plan runs open loop for `act_horizon` frames; a residual is chosen every `residual_every` of
    them. An episode's end clears history, plan and cursor of its sub-environment, here alone.
    """

    @classmethod
    def of(cls, config: Config, base: BasePolicy, *, num_envs: int, seed: int, **more: Any) -> Self:
        """`base` with a residual that is still untrained, as a run's settings compose them."""
        return cls(
            base,
            ResidualActor(config.algo, base.observation_dim, base.action_dim),
            num_envs=num_envs,
            residual_every=config.algo.residual_every,
            residual_scale=config.algo.residual_scale,
            device=config.actor.device,
            seed=seed,
            **more,
        )

    def __init__(
        self,
        base: BasePolicy,
        residual: ResidualActor,
        *,
        num_envs: int,
        residual_every: int,
        residual_scale: float,
        device: str,
        seed: int,
    ) -> None:
        self._base = base
        self._residual = residual
        self._every = residual_every
        self._scale = residual_scale
        self._device = torch.device(device)
        self._generator = torch.Generator(self._device).manual_seed(seed)
        self._rows = torch.arange(num_envs, device=self._device)
        actions = base.action_dim
        float_zeros = lambda *shape: torch.zeros(shape, device=self._device)  # noqa: E731
        self._history = float_zeros(num_envs, base.obs_horizon, base.observation_dim)
        self._images = ImageHistory(base.cameras, num_envs, base.obs_horizon, self._device)
        self._plan = float_zeros(num_envs, base.act_horizon, actions)
        self._base_plan = float_zeros(num_envs, residual_every, actions)
        self._chosen_residual = float_zeros(num_envs, residual_every, actions)
        self._noise = float_zeros(num_envs, residual.outputs)
        self._noise_left = torch.zeros(num_envs, dtype=torch.int64, device=self._device)
        self._ladder = torch.linspace(0, 1, num_envs, device=self._device)
        self._cursor = torch.zeros(num_envs, dtype=torch.int64, device=self._device)
        self._version = torch.zeros(num_envs, dtype=torch.int64, device=self._device)
        self._episode_acts = torch.zeros(num_envs, dtype=torch.bool, device=self._device)
        self.weights_version = 0
        self.behaviour = BASE_ALONE
        self.base_calls = 0

    def adopt(self, version: int, weights: dict[str, Tensor], behaviour: Behaviour) -> None:
        """Take newer weights. Decisions under way keep the residual that they have."""
        self._residual.load_state_dict(weights, strict=True)
        self.weights_version = version
        self.behaviour = behaviour

    def begin(self, observation: Tensor, fresh: Tensor | None = None, images: Images = NO_IMAGES) -> None:
        """Start episodes at `observation` (N, O) in sub-environments `fresh` (N,) bool; None: all.

        The history is filled with the first observation, and the plan counts as used up.
        """
        rows = self._rows if fresh is None else fresh.nonzero()[:, 0]
        self._history[rows] = observation[rows].to(self._device)[:, None]
        self._images.begin(rows, images)
        self._cursor[rows] = self._base.act_horizon
        self._noise_left[rows] = 0
        if self.behaviour.mask_episodes:
            self._episode_acts[rows] = self._uniform01(len(rows)) < self.behaviour.mask_probability

    def observe(self, observation: Tensor, images: Images = NO_IMAGES) -> None:
        """Append the newest observations (N, O) to the histories."""
        self._history = torch.cat([self._history[:, 1:], observation.to(self._device)[:, None]], dim=1)
        self._images.observe(images)

    @torch.no_grad()
    def act(self) -> Chosen:
        """Actions of this frame, planning and deciding where due."""
        self._plan_where_used_up()
        deciding = self._cursor % self._every == 0
        if deciding.any():
            self._decide(deciding.nonzero()[:, 0])
        offset = self._cursor % self._every
        base_action = self._base_plan[self._rows, offset]
        residual = self._chosen_residual[self._rows, offset]
        self._cursor = self._cursor + 1
        return Chosen(
            action=(base_action + self._scale * residual).clamp(-1, 1),
            deciding=deciding,
            base_plan=self._base_plan.clone(),
            residual=self._chosen_residual.clone(),
            version=self._version.clone(),
        )

    def plan_at(self, observation: Tensor, rows: Tensor, images: Images = NO_IMAGES) -> Tensor:
        """Base plans (R, k, A) at final observations (R, O) and images of sub-environments `rows`.

        Leaves no trace: the histories are those of the episode that ended.
        """
        newest = observation.to(self._device)[:, None]
        history = torch.cat([self._history[rows][:, 1:], newest], dim=1)
        self.base_calls += len(rows)
        plan = self._base.plan(history, self._images.ending_with(rows, images))
        return plan[:, : self._every].to(self._device)

    def _plan_where_used_up(self) -> None:
        used_up = (self._cursor >= self._base.act_horizon).nonzero()[:, 0]
        if len(used_up):
            self.base_calls += len(used_up)
            plan = self._base.plan(self._history[used_up], self._images.of(used_up))
            self._plan[used_up] = plan.to(self._device)
            self._cursor[used_up] = 0

    def _decide(self, rows: Tensor) -> None:
        """Choose residuals for the plans' next `residual_every` actions, where `rows` says."""
        frames = self._cursor[rows, None] + torch.arange(self._every, device=self._device)
        base_plan = self._plan[rows[:, None], frames]
        behaviour = self.behaviour
        mask = self._mask(rows)
        if behaviour.uniform:
            uniform = 2 * self._uniform01(len(rows), self._residual.outputs) - 1
            residual = self._residual.spread(uniform).view_as(base_plan)
        elif mask.any():
            residual = self._policy_residual(rows, base_plan)
        else:
            residual = torch.zeros_like(base_plan)
        self._base_plan[rows] = base_plan
        self._chosen_residual[rows] = residual * mask[:, None, None]
        self._version[rows] = self.weights_version

    def _mask(self, rows: Tensor) -> Tensor:
        """Whether the residual acts, (R,) bool."""
        if self.behaviour.mask_episodes:
            return self._episode_acts[rows]
        return self._uniform01(len(rows)) < self.behaviour.mask_probability

    def _policy_residual(self, rows: Tensor, base_plan: Tensor) -> Tensor:
        observation = self._residual.related(self._history[rows, -1])
        residual = self._residual.sample(observation, base_plan.flatten(1), self._generator).residual
        noise = self._residual.spread(self._explore(rows))
        return self._residual.limit(residual + noise).view_as(base_plan)

    def _explore(self, rows: Tensor) -> Tensor:
        """Gaussian noise (R, outputs) that lasts for `noise_hold` decisions once it has begun.

        A push that lasts goes somewhere; independent pushes of the same size cancel.
        """
        behaviour = self.behaviour
        starts = (self._noise_left[rows] == 0) & (self._uniform01(len(rows)) < behaviour.noise_probability)
        scale = behaviour.noise_std * (self._ladder[rows] if behaviour.noise_ladder else 1.0)
        shape = (len(rows), self._residual.outputs)
        drawn = torch.randn(shape, generator=self._generator, device=self._device)
        drawn = drawn * torch.as_tensor(scale).reshape(-1, 1)
        left = torch.where(starts, behaviour.noise_hold, self._noise_left[rows])
        noise = torch.where(starts[:, None], drawn, self._noise[rows]) * (left > 0)[:, None]
        self._noise[rows], self._noise_left[rows] = noise, (left - 1).clamp_min(0)
        return noise

    def _uniform01(self, *shape: int) -> Tensor:
        return torch.rand(shape, generator=self._generator, device=self._device)


class EvaluatedPolicy(DecoratedPolicy):
    """The same composition for evaluation, whatever the behaviour that weights come with: no mask, no noise.

    Args:
        plays: "base": the base alone; "full": every decision with its residual, deterministic tanh(mean).
    """

    def __init__(self, *composed: Any, plays: Literal["base", "full"], **settings: Any) -> None:
        super().__init__(*composed, **settings)
        self.plays = plays

    def _decide(self, rows: Tensor) -> None:
        frames = self._cursor[rows, None] + torch.arange(self._every, device=self._device)
        base_plan = self._plan[rows[:, None], frames]
        self._base_plan[rows] = base_plan
        self._version[rows] = self.weights_version
        if self.plays == "full":
            observation = self._residual.related(self._history[rows, -1])
            residual = self._residual.mode(observation, base_plan.flatten(1))
            self._chosen_residual[rows] = residual.view_as(base_plan)
        else:
            self._chosen_residual[rows] = 0
