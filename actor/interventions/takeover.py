"""A policy, and a source that acts instead of it where it wants to."""

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor

from actor.interventions.contract import ActionSource
from actor.policy.decorated import Chosen, DecoratedPolicy
from actor.policy.features import Planned
from actor.policy.images import NO_IMAGES, Images
from config.reach import Scale
from protocol.messages import Behaviour


class Takeover:
    """As a `DecoratedPolicy`, for a rollout. Where the source acts its action is executed, and the residual
    that is recorded is the one that reproduces it, as far as a residual may: within [-1, 1], in the
    dimensions that it may change."""

    def __init__(self, policy: DecoratedPolicy, source: ActionSource, residual_scale: Scale) -> None:
        self._policy, self._source = policy, source
        self._scale = torch.tensor(residual_scale, dtype=torch.float32)
        # Of the decisions under way: which frame comes next, where the source acted, and with which residual.
        self._offset = torch.zeros(0, dtype=torch.int64)
        self._acted = self._residual = torch.zeros(0)

    @property
    def weights_version(self) -> int:
        """As the policy's."""
        return self._policy.weights_version

    def adopt(self, version: int, weights: dict[str, Tensor], behaviour: Behaviour) -> None:
        """As the policy's."""
        self._policy.adopt(version, weights, behaviour)

    @property
    def base_version(self) -> int:
        """As the policy's."""
        return self._policy.base_version

    @property
    def has_room(self) -> bool:
        """As the policy's."""
        return self._policy.has_room

    def adopt_base(self, version: int, weights: dict[str, Tensor]) -> None:
        """As the policy's."""
        self._policy.adopt_base(version, weights)

    def begin(self, observation: Tensor, fresh: Tensor | None = None, images: Images = NO_IMAGES) -> None:
        """As the policy's."""
        self._policy.begin(observation, fresh, images)
        self._source.begin(observation, fresh, images)

    def observe(self, observation: Tensor, images: Images = NO_IMAGES) -> None:
        """As the policy's."""
        self._policy.observe(observation, images)
        self._source.observe(observation, images)

    def plan_at(self, observation: Tensor, rows: Tensor, images: Images = NO_IMAGES) -> Planned:
        """As the policy's."""
        return self._policy.plan_at(observation, rows, images)

    def act_in(self, acting: Tensor) -> Chosen:
        """Nobody who plays rounds has a source."""
        raise NotImplementedError

    def act(self) -> Chosen:
        """What the policy chose, with the source's actions where it acts, and the column `intervention`."""
        chosen = self._policy.act()
        taken = self._source.act(chosen.action)
        acting = taken.acting.to(chosen.action.device)
        action = torch.where(acting[:, None], taken.action.to(chosen.action), chosen.action).clamp(-1, 1)
        self._count(chosen)
        rows = acting.nonzero()[:, 0]
        self._acted[rows, self._offset[rows]] = True
        self._residual[rows, self._offset[rows]] = self._reproducing(chosen, action, rows)
        residual = torch.where(self._acted[..., None], self._residual, chosen.residual)
        optional: Mapping[str, Tensor] = {**chosen.optional, "intervention": acting}
        return replace(chosen, action=action, residual=residual, optional=optional)

    def _count(self, chosen: Chosen) -> None:
        """Go on to the next frame of each decision."""
        if not len(self._offset):
            self._offset = torch.zeros_like(chosen.deciding, dtype=torch.int64)
            self._acted = torch.zeros_like(chosen.residual[..., 0], dtype=torch.bool)
            self._residual = torch.zeros_like(chosen.residual)
        self._offset = torch.where(chosen.deciding, 0, self._offset + 1)
        self._acted[chosen.deciding] = False

    def _reproducing(self, chosen: Chosen, action: Tensor, rows: Tensor) -> Tensor:
        """(R, A): the residuals that lead from the plan to the action, within their bounds."""
        wanted = (action[rows] - chosen.base_plan[rows, self._offset[rows]]) / self._scale.to(action)
        return wanted.clamp(-1, 1) * self._policy.changes.to(wanted)
