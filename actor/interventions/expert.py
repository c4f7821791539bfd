"""A better policy that takes over by itself: the base of another run, with its residual, or what was scripted
for the task."""

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol, Self

import msgspec
import torch
from torch import Tensor

from actor.evaluate_base import load_residual
from actor.interventions.contract import Intervention, Mark
from actor.interventions.error import InterventionError
from actor.interventions.scripted import ScriptedPolicy
from actor.policy.contract import BasePolicy
from actor.policy.decorated import DecoratedPolicy
from actor.policy.images import NO_IMAGES, Images
from actor.policy.make import check_base_fits, make_base
from actor.policy.noise import EpisodeSeeds, Use, uniform
from actor.policy.run_files import expert_files
from actor.policy.steered import evaluated_kind
from config.compose import read_config
from config.main import Config
from config.pictures import PicturesConfig
from config.trust import UNTRUSTED


class Acted(Protocol):
    """What a player did in one frame."""

    @property
    def action(self) -> Tensor:
        """(N, A) in [-1, 1]."""
        ...


class Player(Protocol):
    """Who acts as an expert: a policy, or a script."""

    def begin(self, observation: Tensor, fresh: Tensor | None = None, images: Images = NO_IMAGES) -> None:
        """As of `ActionSource`."""
        ...

    def observe(self, observation: Tensor, images: Images = NO_IMAGES) -> None:
        """As of `ActionSource`."""
        ...

    def act_in(self, acting: Tensor) -> Acted:
        """In sub-environments `acting` (N,) bool; what it says of the others counts for nothing."""
        ...


class Expert:
    """An `ActionSource`. It acts in whole episodes with `probability`, drawn from each episode's own seed,
    and from frame `after_frames` on in all of them, to the end of the episode."""

    marks_episodes = False

    def __init__(
        self,
        policy: Player,
        *,
        num_envs: int,
        first_seed: int,
        probability: float,
        after_frames: int | None,
    ) -> None:
        self._policy, self._probability, self._after = policy, probability, after_frames
        self._episodes = EpisodeSeeds(first_seed, num_envs)
        self._rows = torch.arange(num_envs)
        self._acting, self._frames = torch.zeros(num_envs, dtype=torch.bool), torch.zeros(num_envs)

    @classmethod
    def of(cls, config: Config, num_envs: int, first_seed: int, sizes: tuple[int, int]) -> Self:
        """Of actor.expert, for an environment with these observation and action dimensions.
        Raises CheckpointError, ConfigError, InterventionError: no such run, or one of another task; without a
        run, no scripted expert of the task."""
        settings = config.actor.expert
        if settings.run is None:
            policy: Player = ScriptedPolicy.of(config.task, sizes)
        else:
            policy = _policy_of_run(config, num_envs, first_seed, sizes)
        return cls(
            policy,
            num_envs=num_envs,
            first_seed=first_seed,
            probability=settings.probability,
            after_frames=settings.after_frames,
        )

    def begin(self, observation: Tensor, fresh: Tensor | None = None, images: Images = NO_IMAGES) -> None:
        """Draw whether it acts in the episodes that begin."""
        self._policy.begin(observation, fresh, images)
        if fresh is None:
            rows = self._rows
            self._episodes.restart()
        else:
            rows = fresh.cpu().nonzero()[:, 0]
            self._episodes.begin(rows)
        drawn = uniform(self._episodes.keys(rows, Use.TAKEOVER), 1)[:, 0]
        self._acting[rows] = torch.from_numpy(drawn) < self._probability
        self._frames[rows] = 0

    def observe(self, observation: Tensor, images: Images = NO_IMAGES) -> None:
        self._policy.observe(observation, images)

    def act(self, proposed: Tensor) -> Intervention:
        if self._after is not None:
            self._acting |= self._frames >= self._after
        self._frames += 1
        return Intervention(self._acting.clone(), self._policy.act_in(self._acting).action)

    def marks(self) -> Mapping[int, Mark]:
        return {}

    def close(self) -> None:
        """Nothing."""


def _policy_of_run(config: Config, num_envs: int, first_seed: int, sizes: tuple[int, int]) -> DecoratedPolicy:
    """Of actor.expert.run: its base, and its residual unless the base acts alone."""
    folder, residual = expert_files(config.actor.expert, config.runs_dir)
    theirs = read_config(folder / "config.yaml", [UNTRUSTED])
    theirs = msgspec.structs.replace(theirs, actor=config.actor)
    _require_same_actions(config, theirs, folder)
    base = make_base(theirs.base, theirs.task, config.actor.device)
    check_base_fits(base, *sizes, theirs.base.path)
    seen = theirs.algo.plays.looks_at if residual is not None and theirs.algo.plays else None
    _require_cameras(config, base, seen, folder)
    if residual is not None and theirs.algo.plays is None:
        raise InterventionError(
            f"actor.expert.run={folder} trains no residual: set actor.expert.checkpoint=base"
        )
    kind = DecoratedPolicy if residual is None else evaluated_kind(theirs.algo)
    policy = kind.of(theirs, base, num_envs=num_envs, first_seed=first_seed)
    if residual is not None:
        load_residual(policy, residual)
    return policy


def _require_same_actions(ours: Config, theirs: Config, folder: Path) -> None:
    if ours.task.control_mode != theirs.task.control_mode:
        raise InterventionError(
            f"actor.expert.run={folder} acts in control mode {theirs.task.control_mode}, this run in "
            f"{ours.task.control_mode}: choose an expert with the same actions"
        )


def _require_cameras(ours: Config, base: BasePolicy, seen: PicturesConfig | None, folder: Path) -> None:
    """Raise InterventionError unless this run has the pictures that base and residual look at."""
    needed = {*base.cameras, *(seen.cameras if seen else ())}
    if missing := needed - set(ours.task.cameras):
        raise InterventionError(
            f"actor.expert.run={folder} looks at {', '.join(sorted(missing))}, which is not in task.cameras: "
            "add it, or choose another expert"
        )
    if seen and seen.size != ours.task.camera_size:
        raise InterventionError(
            f"actor.expert.run={folder} looks at pictures of {list(seen.size)}, task.camera_size is "
            f"{list(ours.task.camera_size)}: give both the same, or choose another expert"
        )
