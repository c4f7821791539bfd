"""Plays a seed again, with a camera."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import gymnasium
import msgspec
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from actor.evaluate_base import make_policy
from actor.policy.contract import BasePolicy
from actor.policy.decorated import Chosen, DecoratedPolicy
from actor.policy.images import NO_IMAGES, Images, tensor_of
from actor.simulators.cameras import STATE
from config.main import Config
from launch.show.film.roles import Role

Picture = NDArray[np.uint8]
"""(height, width, 3)"""


@dataclass(frozen=True)
class Shot:
    """A moment of an episode."""

    frame: int
    """Actions so far."""
    picture: Picture
    residual: float
    """Mean size of the residual of the last action, as a share of what it may be at most."""
    success: bool
    ended: bool


class Stopped(Exception):
    """Somebody asked to stop during an episode."""


class Player:
    """Plays single seeds as the evaluation plays them: one simulator, noise from the seed alone.

    Args:
        env: made by `single_environment`, with pictures.
        goes_on: asked at every frame.
    """

    def __init__(
        self, config: Config, base: BasePolicy, env: gymnasium.Env, goes_on: Callable[[], bool]
    ) -> None:
        self._config, self._base, self._env, self._goes_on = config, base, env, goes_on
        dims = None if config.algo.plays is None else config.algo.plays.residual_dims
        self._dims = [*range(base.action_dim)] if dims is None else [*dims]

    def film(self, role: Role, seed: int, every: int, drawn: Callable[[], object]) -> list[Shot]:
        """The first moment, then each `every` frames, and the last; `drawn` is told of each.
        Raises CheckpointError: the residual does not fit. Raises Stopped."""
        shots = [Shot(0, self._begin(role, seed), 0.0, success=False, ended=False)]
        drawn()
        for frame, residual, success, ended in self._frames():
            if ended or frame % every == 0:
                shots.append(Shot(frame, self._picture(), residual, success, ended))
                drawn()
        return shots

    def succeeds(self, role: Role, seed: int) -> bool:
        """The same without pictures: whether it succeeds in the end. Raises CheckpointError, Stopped."""
        self._begin(role, seed, draws=False)
        *_, (_, _, success, _) = self._frames()
        return success

    def _begin(self, role: Role, seed: int, draws: bool = True) -> Picture:
        """Start the episode; returns its first picture, an empty one without `draws`."""
        self._policy = make_policy(_beginning_at(self._config, seed), self._base, role.residual, num_envs=1)
        state, images = _batch(self._env.reset(seed=seed)[0])
        self._policy.begin(state, images=images)
        return self._picture() if draws else np.zeros((0, 0, 3), np.uint8)

    def _frames(self) -> Iterator[tuple[int, float, bool, bool]]:
        """(frame, size of the residual, success, ended) after each action."""
        policy: DecoratedPolicy = self._policy
        ended, frame, offset = False, 0, 0
        while not ended:
            if not self._goes_on():
                raise Stopped
            chosen = policy.act()
            offset = 0 if chosen.deciding[0] else offset + 1
            observation, _, terminated, truncated, info = self._env.step(chosen.action[0].cpu().numpy())
            policy.observe(*_batch(observation))
            frame, ended = frame + 1, bool(terminated or truncated)
            yield frame, self._size(chosen, offset), info["success"], ended

    def _size(self, chosen: Chosen, offset: int) -> float:
        return float(chosen.residual[0, offset, self._dims].abs().mean())

    def _picture(self) -> Picture:
        return np.ascontiguousarray(self._env.render())


def _beginning_at(config: Config, seed: int) -> Config:
    replace = msgspec.structs.replace
    evaluation = replace(config.learner.evaluation, first_seed=seed)
    return replace(config, learner=replace(config.learner, evaluation=evaluation))


def _batch(observation: Any) -> tuple[Tensor, Images]:
    """State (1, O) and images (1, H, W, C) of a single simulator's observation."""
    if not isinstance(observation, dict):
        return torch.from_numpy(observation)[None], NO_IMAGES
    rows = {name: tensor_of(part)[None] for name, part in observation.items()}
    return rows.pop(STATE), rows
