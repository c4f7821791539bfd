"""A policy that a program acts with: base alone or with a residual, in N sub-environments side by side."""

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from actor.evaluate_base import make_policy
from actor.policy.contract import BasePolicy
from actor.policy.decorated import Chosen, DecoratedPolicy
from actor.policy.images import dtype_of
from actor.policy.make import make_base
from config.main import Config
from config.process import UsageError
from config.trust import trusting
from launch.evaluation.subject import Subject
from launch.run.startable import require_base
from protocol.pictures import modality_of


def load(subject: Subject, num_envs: int) -> "LoadedPolicy":
    """Raises UsageError: it cannot be used here."""
    config = subject.config
    if num_envs < 1:
        raise UsageError(f"num_envs must be at least 1, got {num_envs}")
    require_base(config)
    with trusting(config.trust_remote_code):
        base = make_base(config.base, config.task, config.actor.device)
        policy = make_policy(config, base, subject.residual, num_envs)
    return LoadedPolicy(config, base, policy, num_envs)


class LoadedPolicy:
    """Acts as in an evaluation: each decision is the best that it knows, without exploration.

    Observations are those of the task (`config.task`): float, (N, observation_dim), or (observation_dim,)
    where N is 1. Actions are in [-1, 1], for the control mode `config.task.control_mode`.

    Attributes:
        config: with which it was made.
        num_envs: N.
        cameras: whose images `act` needs, of `config.task.camera_size`; none for a policy on states.
    """

    def __init__(self, config: Config, base: BasePolicy, policy: DecoratedPolicy, num_envs: int) -> None:
        self.config, self.num_envs = config, num_envs
        self.observation_dim, self.action_dim = base.observation_dim, base.action_dim
        self.cameras = policy.cameras
        self._policy = policy
        self._chosen: Chosen | None = None
        self.reset()

    def reset(self, ended: ArrayLike | Tensor | None = None) -> None:
        """The next observation begins new episodes: where `ended` (N,) bool says so, else in all.

        Random numbers of the base belong to an episode's seed. In sub-environment i the episodes are those of
        the seeds first_seed + i, first_seed + i + N, ... (`learner.evaluation.first_seed`): `reset()` begins
        with the first ones, `reset(ended)` goes on with the next ones. Raises UsageError: another shape."""
        if ended is None:
            self._begins: Tensor | None = None
            self._chosen = None
        elif self._chosen is not None:
            self._begins = self._as(ended, torch.bool, (self.num_envs,), "ended")

    def act(self, observation: ArrayLike | Tensor, images: Mapping[str, Tensor] | None = None) -> Tensor:
        """The actions of this frame (N, action_dim) for its observations.

        Call it once a frame: it keeps the observations before and the plan that it is executing.

        Args:
            images: of each of `cameras`, u1 (N, height, width, 3); of depth u2 (N, height, width, 1).

        Raises UsageError: an observation of another shape, or a camera without images."""
        shape = (self.num_envs, self.observation_dim)
        seen, shown = self._as(observation, torch.float32, shape, "observation"), self._images(images or {})
        if self._chosen is None:
            self._policy.begin(seen, images=shown)
        else:
            self._policy.observe(seen, shown)
            if self._begins is not None:
                self._policy.begin(seen, self._begins, shown)
        self._begins, self._chosen = None, self._policy.act()
        return self._chosen.action

    def plan(self) -> Tensor:
        """The actions of the decision under way (N, k, action_dim), of which `act` gives one a frame, k as in
        `config.algo.residual_every`. Raises UsageError: before the first `act`."""
        if self._chosen is None:
            raise UsageError("there is no plan before the first observation: call act")
        chosen = self._chosen
        scale = torch.tensor(self.config.algo.scale).to(chosen.residual)
        return (chosen.base_plan + scale * chosen.residual).clamp(-1, 1)

    def _images(self, images: Mapping[str, Tensor]) -> dict[str, Tensor]:
        width, height = self.config.task.camera_size
        if missing := [camera for camera in self.cameras if camera not in images]:
            raise UsageError(f"this policy looks at {', '.join(self.cameras)}: no images of {missing[0]}")
        shapes = {camera: modality_of(camera).shape((height, width)) for camera in self.cameras}
        return {
            camera: self._as(images[camera], dtype_of(camera), (self.num_envs, *shape), f"images of {camera}")
            for camera, shape in shapes.items()
        }

    def _as(self, given: ArrayLike | Tensor, kind: torch.dtype, shape: tuple[int, ...], what: str) -> Tensor:
        values = given if isinstance(given, Tensor) else torch.from_numpy(np.array(given))
        if self.num_envs == 1 and values.shape == shape[1:]:
            values = values[None]
        if values.shape != shape:
            raise UsageError(f"{what} of shape {tuple(values.shape)}: this policy takes {shape}")
        return values.to(self.config.actor.device, kind)
