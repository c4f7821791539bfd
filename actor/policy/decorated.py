"""Base plus scaled residual, with a plan and a cursor for every sub-environment."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Self

import torch
from torch import Tensor

from actor.policy.contract import BasePolicy
from actor.policy.exploration import Exploration, PushedBase, best_residual, pushed_base
from actor.policy.features import FeaturedBase, Planned, planned, rounded, sizes_of
from actor.policy.gaussian import make_residual
from actor.policy.images import NO_IMAGES, ImageHistory, Images
from actor.policy.noise import EpisodeSeeds, Use
from actor.policy.pictures import DecidedPictures
from actor.policy.residual import ResidualActor
from actor.policy.tiles import in_tiles
from actor.policy.trainable import require_trainable
from config.main import Config
from config.reach import Scale
from protocol.messages import BASE_ALONE, Behaviour


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

    A plan is executed for `act_horizon` frames; a residual is chosen every `residual_every` of them. Before
    the first weights, and without a residual, the base acts alone.

    A newer version of the base plans from a sub-environment's next episode on, so there are at most two.

    Args:
        first_seed: sub-environment i plays the episodes first_seed + i, first_seed + i + N, ...; the random
            numbers of base, mask and noise depend on the episode's seed alone.
        pushed: what gets noise in place of a residual, where there is none.
        ladder: share of the noise that each sub-environment gets in a noise ladder; None: i / (N - 1).
        features_dim: of the base's features, which are then computed at each decision.
    """

    @classmethod
    def of(cls, config: Config, base: BasePolicy, *, num_envs: int, first_seed: int) -> Self:
        """`base` with an untrained residual, or alone, as a run's configuration composes them."""
        algo = config.algo.plays
        sizes = sizes_of(base, algo, config.base.path)
        return cls(
            base,
            None if algo is None else make_residual(algo, sizes, base.action_dim),
            num_envs=num_envs,
            residual_every=config.algo.residual_every,
            residual_scale=config.algo.scale,
            device=config.actor.device,
            first_seed=first_seed,
            features_dim=sizes.features,
            pushed=pushed_base(config, base.action_dim),
        )

    def __init__(
        self,
        base: BasePolicy,
        residual: ResidualActor | None,
        *,
        num_envs: int,
        residual_every: int,
        residual_scale: Scale,
        device: str,
        first_seed: int,
        ladder: Sequence[float] | None = None,
        features_dim: int = 0,
        pushed: PushedBase | None = None,
    ) -> None:
        self._bases, self._residual = {0: base}, residual
        self._act_horizon = base.act_horizon
        self._every = residual_every
        self._device = torch.device(device)
        self._scale = torch.tensor(residual_scale, dtype=torch.float32, device=self._device)
        self._rows = torch.arange(num_envs, device=self._device)
        self._episodes = EpisodeSeeds(first_seed, num_envs)
        shares = torch.linspace(0, 1, num_envs).tolist() if ladder is None else ladder
        self._explored = residual or pushed
        self._exploration = (
            None
            if self._explored is None
            else Exploration(self._explored, self._episodes, shares, self._device)
        )
        self._history = self._zeros(base.obs_horizon, base.observation_dim)
        self._images = ImageHistory(base.cameras, num_envs, base.obs_horizon, self._device)
        looks_at = residual.looks_at if residual is not None else None
        self._pictures = None if looks_at is None else DecidedPictures(looks_at, num_envs, self._device)
        self._plan = self._zeros(base.act_horizon, base.action_dim)
        self._features = self._zeros(features_dim).to(torch.float16)
        """Of the decisions under way, as they are sent."""
        self._cursor = self._zeros().long()
        self._decided_plan = self._zeros(residual_every, base.action_dim)
        self._decided_residual = self._zeros(residual_every, base.action_dim)
        self._decided_version = self._zeros().long()
        self._base_of, self._decided_base = self._zeros().long(), self._zeros().long()
        self.weights_version = 0
        self.base_version = 0
        """Of the base that the next episodes are played with; 0: the one that the run began with."""
        self.behaviour = BASE_ALONE
        self.base_calls = 0

    @property
    def cameras(self) -> tuple[str, ...]:
        """Whose images base and residual look at."""
        looks_at = self._residual.looks_at if self._residual is not None else None
        seen = () if looks_at is None else looks_at.cameras
        return tuple(dict.fromkeys([*self._bases[self.base_version].cameras, *seen]))

    @property
    def changes(self) -> Tensor:
        """(A,) bool: the action dimensions that residual or noise may change; none without them."""
        if self._explored is None:
            return torch.zeros(self._plan.shape[-1], dtype=torch.bool)
        return self._explored.changes

    def adopt(self, version: int, weights: dict[str, Tensor], behaviour: Behaviour) -> None:
        """Take newer weights. Decisions under way keep the residual that they have."""
        if self._residual is not None:
            self._residual.load_state_dict(weights, strict=True)
        self.weights_version = version
        self.behaviour = behaviour

    @property
    def has_room(self) -> bool:
        """Whether a newer base can be adopted: all episodes under way have the same."""
        return len(self._bases) == 1

    def adopt_base(self, version: int, weights: Mapping[str, Tensor]) -> None:
        """Take a newer base while there is room. Episodes under way keep the one that they have.
        Raises CheckpointError: the weights do not fit."""
        newest = self._bases[self.base_version]
        made = require_trainable(newest, "of this run").with_weights(weights)
        self._bases, self.base_version = {self.base_version: newest, version: made}, version

    def end_episodes(self) -> None:
        """No episode is under way: only the newest base is needed."""
        self._base_of[:] = self.base_version
        self._bases = {self.base_version: self._bases[self.base_version]}

    def begin(self, observation: Tensor, fresh: Tensor | None = None, images: Images = NO_IMAGES) -> None:
        """Start the next episodes in sub-environments `fresh` (N,) bool; None: the first episodes, in all.

        Everything of the last episode ends here: the history is filled with `observation` (N, O), the plan
        counts as used up, the noise stops, and the new episode's random numbers begin.
        """
        if fresh is None:
            rows = self._rows
            self._episodes.restart()
        else:
            rows = fresh.to(self._device).nonzero()[:, 0]
            self._episodes.begin(rows)
        self._history[rows] = observation.to(self._device)[rows][:, None]
        self._images.begin(rows, images)
        if self._pictures is not None:
            self._pictures.begin(rows, images)
        self._cursor[rows] = self._act_horizon
        self._base_of[rows] = self.base_version
        if not self.has_room and bool((self._base_of == self.base_version).all()):
            self._bases = {self.base_version: self._bases[self.base_version]}
        if self._exploration is not None:
            self._exploration.begin(rows, self.behaviour)

    def observe(self, observation: Tensor, images: Images = NO_IMAGES) -> None:
        """Append the newest observations (N, O) to the histories."""
        self._history = torch.cat([self._history[:, 1:], observation.to(self._device)[:, None]], dim=1)
        self._images.observe(images)
        if self._pictures is not None:
            self._pictures.observe(images)

    @torch.no_grad()
    def act(self) -> Chosen:
        """Actions of this frame, planning and deciding where due."""
        self._plan_where_used_up()
        deciding = self._cursor % self._every == 0
        if deciding.any():
            self._decide(deciding.nonzero()[:, 0])
        offset = self._cursor % self._every
        base_action = self._decided_plan[self._rows, offset]
        residual = self._decided_residual[self._rows, offset]
        self._cursor = self._cursor + 1
        self._episodes.step()
        return Chosen(
            action=self._executed(base_action, residual).clamp(-1, 1),
            deciding=deciding,
            base_plan=self._decided_plan.clone(),
            residual=self._decided_residual.clone(),
            version=self._decided_version.clone(),
            optional={"base_version": self._decided_base.clone(), **self._sent_features()},
        )

    def act_in(self, acting: Tensor) -> Chosen:
        """As `act`, in sub-environments `acting` (N,) bool alone: elsewhere nothing is planned, and the next
        plan is due as soon as it acts there."""
        resting = ~acting.to(self._device)
        self._cursor[resting] = min(1, self._every - 1)  # in the middle of a decision
        chosen = self.act()
        self._cursor[resting] = self._act_horizon
        return chosen

    def plan_at(self, observation: Tensor, rows: Tensor, images: Images = NO_IMAGES) -> Planned:
        """Base plans (R, k, A) at final observations (R, O) and images of sub-environments `rows`.

        Changes nothing; the histories are those of the episodes that ended.
        """
        newest = observation.to(self._device)[:, None]
        history = torch.cat([self._history[rows][:, 1:], newest], dim=1)
        plan, features = self._planned(rows, history, self._images.ending_with(rows, images))
        return Planned(plan[:, : self._every], features)

    def _plan_where_used_up(self) -> None:
        used_up = (self._cursor >= self._act_horizon).nonzero()[:, 0]
        if len(used_up):
            self._plan_for(used_up)
            self._cursor[used_up] = 0

    def _plan_for(self, rows: Tensor) -> None:
        """New plans for sub-environments `rows`, with features if they are wanted."""
        found = self._planned(rows, self._history[rows], self._images.of(rows))
        self._plan[rows], self._features[rows] = found

    def _planned(self, rows: Tensor, history: Tensor, images: Images) -> Planned:
        self.base_calls += len(rows)
        keys, wanted = self._episodes.keys(rows, Use.BASE), self._features.shape[1] > 0
        if self.has_room:
            found = planned(self._bases[self.base_version], history, keys, images, features=wanted)
            return Planned(*(part.to(self._device) for part in found))
        plan, features = torch.zeros_like(self._plan[rows]), torch.zeros_like(self._features[rows])
        for version, base in self._bases.items():
            mine = self._base_of[rows] == version
            if mine.any():
                shown = {camera: pictures[mine] for camera, pictures in images.items()}
                found = planned(base, history[mine], keys[mine.cpu().numpy()], shown, features=wanted)
                plan[mine], features[mine] = (part.to(self._device) for part in found)
        return Planned(plan, features)

    def _look_again(self, rows: Tensor) -> None:
        """Features of decisions of sub-environments `rows` that are in the middle of a plan."""
        for version, base in self._bases.items():
            mine = rows[self._base_of[rows] == version]
            if len(mine) and isinstance(base, FeaturedBase):
                found = base.features(self._history[mine], self._images.of(mine))
                self._features[mine] = rounded(found).to(self._device)

    def _decide(self, rows: Tensor) -> None:
        """Choose residuals for the plans' next `residual_every` actions, for sub-environments `rows`."""
        frames = self._cursor[rows, None] + torch.arange(self._every, device=self._device)
        plan = self._plan[rows[:, None], frames]
        residual = self._choose(rows, self._row(rows), plan.flatten(1))
        self._decided_plan[rows] = plan
        self._decided_residual[rows] = residual.view_as(plan)
        self._decided_version[rows] = self.weights_version
        self._decided_base[rows] = self._base_of[rows]

    def _executed(self, base_action: Tensor, residual: Tensor) -> Tensor:
        """Actions (N, A) of this frame, not clipped."""
        return base_action + self._scale * residual

    def _sent_features(self) -> dict[str, Tensor]:
        return {"features": self._features.clone()} if self._features.shape[1] else {}

    def _row(self, rows: Tensor) -> Tensor:
        """Newest observations, with features and what the encoder makes of pictures behind them,
        (R, O + E + P)."""
        parts = [self._history[rows, -1]]
        if self._features.shape[1]:
            self._look_again(rows[self._cursor[rows] > 0])
            parts.append(self._features[rows].float())
        if self._pictures is not None and self._residual is not None and self._residual.encoder is not None:
            parts.append(in_tiles(self._residual.encoder, self._pictures.decide(rows)))
        return parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)

    def _choose(self, rows: Tensor, observation: Tensor, base_plan: Tensor) -> Tensor:
        """Residuals (R, k * A), masked, for newest observations (R, O + E) and base plans (R, k * A)."""
        if self._exploration is None:
            return torch.zeros_like(base_plan)
        return self._exploration.choose(rows, observation, base_plan, self.behaviour)

    def _zeros(self, *shape: int) -> Tensor:
        return torch.zeros(len(self._rows), *shape, device=self._device)


class EvaluatedPolicy(DecoratedPolicy):
    """Every decision with its best residual: no mask, no noise, whatever behaviour comes with the weights."""

    def _choose(self, rows: Tensor, observation: Tensor, base_plan: Tensor) -> Tensor:
        if self._residual is None:
            return torch.zeros_like(base_plan)
        return best_residual(self._residual, observation, base_plan)
