"""Stand-ins that check what they are given; each is used beside a test with the real thing."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from actor.policy.images import NO_IMAGES, Images, tensor_of
from actor.policy.noise import Keys
from actor.simulators.contract import Step
from protocol.pictures import depths_in


def distance_of(observation: NDArray[Any]) -> NDArray[np.uint16]:
    """(...,) millimetres, up to the farthest, that say which observation (..., 3) of `ScriptedEnvironment`
    they are of."""
    return (300 * observation[..., 0] + observation[..., 1]).astype(np.int64).astype(np.uint16)


class CountingBase:
    """A base whose plan says where it was made: action i of a plan is (first number of the newest
    observation) / 1000 + i / 100 in every component. Counts how many rows it planned."""

    def __init__(self, observation_dim: int = 3, action_dim: int = 2, act_horizon: int = 4) -> None:
        self.obs_horizon, self.act_horizon = 2, act_horizon
        self.observation_dim, self.action_dim = observation_dim, action_dim
        self.fingerprint = "counting"
        self.cameras: tuple[str, ...] = ()
        self.planned = 0
        self.histories: list[Tensor] = []

    def plan(self, history: Tensor, keys: Keys, images: Images = NO_IMAGES) -> Tensor:
        assert keys.shape == (len(history),), keys.shape
        assert images.keys() == set(self.cameras)
        assert history.shape[1:] == (self.obs_horizon, self.observation_dim), history.shape
        self.planned += len(history)
        self.histories.append(history.clone())
        steps = torch.arange(self.act_horizon) / 100
        plan = history[:, -1, 0, None] / 1000 + steps
        return plan[:, :, None].repeat(1, 1, self.action_dim)


class ScriptedEnvironment:
    """Many sub-environments with partial resets: episode lengths and endings are scripted.

    observation[0] = 100 * (episode + 1) + frame, observation[1] = sub-environment; reward = frame.
    Every pixel of camera i is the observation's first two numbers and i, every distance `distance_of` it.
    """

    def __init__(
        self,
        lengths: list[list[int]],
        ends: str = "truncated",
        action_dim: int = 2,
        cameras: tuple[str, ...] = (),
    ) -> None:
        self.num_envs, self.observation_dim, self.action_dim = len(lengths), 3, action_dim
        self._lengths, self._ends, self._cameras = lengths, ends, cameras
        self._episode = [0] * self.num_envs
        self._frame = [0] * self.num_envs

    def _observation(self, env: int) -> list[float]:
        return [100.0 * (self._episode[env] + 1) + self._frame[env], float(env), 0.0]

    @property
    def images(self) -> Images:
        return self.pictures(self.reset())

    def pictures(self, observation: Tensor) -> Images:
        """Images (N, 16, 32, C) that belong to observations."""
        pixels = observation.to(torch.uint8)[:, None, None]
        distances = tensor_of(distance_of(observation.numpy()))[:, None, None, None]
        return {
            camera: distances.repeat(1, 16, 32, 1)
            if depths_in([camera])
            else (pixels + torch.tensor([0, 0, i], dtype=torch.uint8)).repeat(1, 16, 32, 1)
            for i, camera in enumerate(self._cameras)
        }

    def reset(self, seed: int | None = None) -> Tensor:
        return torch.tensor([self._observation(i) for i in range(self.num_envs)])

    def step(self, action: Tensor) -> Step:
        assert action.shape == (self.num_envs, self.action_dim), action.shape
        assert action.abs().max() <= 1
        reward, ended, final = [], [], []
        for env in range(self.num_envs):
            reward.append(float(self._frame[env]))
            self._frame[env] += 1
            final.append(self._observation(env))
            lengths = self._lengths[env]
            over = self._frame[env] >= lengths[self._episode[env] % len(lengths)]
            ended.append(over)
            if over:
                self._episode[env], self._frame[env] = self._episode[env] + 1, 0
        over = torch.tensor(ended)
        terminated = over if self._ends == "terminated" else torch.zeros_like(over)
        final_observation = torch.where(over[:, None], torch.tensor(final), self.reset())
        return Step(
            observation=self.reset(),
            reward=torch.tensor(reward),
            terminated=terminated,
            truncated=over & ~terminated,
            success=terminated,
            final_observation=final_observation,
            images=self.images,
            final_images=self.pictures(final_observation),
        )

    def restart(self, rows: Tensor) -> tuple[Tensor, Images]:
        for env in rows.nonzero()[:, 0].tolist():
            self._episode[env], self._frame[env] = self._episode[env] + 1, 0
        return self.reset(), self.images

    def close(self) -> None:
        pass


class SeeingBase(CountingBase):
    """A base with three features: the first number of the newest observation, a third of the oldest's, 1."""

    features_dim = 3

    def features(self, history: Tensor, images: Images = NO_IMAGES) -> Tensor:
        newest, oldest = history[:, -1, 0], history[:, 0, 0]
        return torch.stack([newest, oldest / 3, torch.ones_like(newest)], dim=1)

    def plan_with_features(
        self, history: Tensor, keys: Keys, images: Images = NO_IMAGES
    ) -> tuple[Tensor, Tensor]:
        return self.plan(history, keys, images), self.features(history)
