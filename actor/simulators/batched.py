"""All sub-environments in one GPU simulator."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from actor.policy.images import NO_IMAGES, Images
from actor.simulators.cameras import STATE, images_in, replaced
from actor.simulators.contract import Step
from actor.simulators.maniskill import playable_simulator
from config.task import TaskConfig


class BatchedEnvironment:
    """All sub-environments in one simulator (ManiSkillVectorEnv); tensors stay on its device."""

    def __init__(self, envs: Any, seed: int, cameras: tuple[str, ...] = ()) -> None:
        self._envs = envs
        self._seed = seed
        self._cameras = cameras
        self.num_envs = envs.num_envs
        space = envs.single_observation_space
        self.observation_dim = (space[STATE] if cameras else space).shape[0]
        self.images: Images = NO_IMAGES
        self.action_dim = envs.single_action_space.shape[0]

    @classmethod
    def make(cls, task: TaskConfig, backend: str, num_envs: int, seed: int) -> "BatchedEnvironment":
        from mani_skill.vector.wrappers.gymnasium import ManiSkillVectorEnv

        envs = ManiSkillVectorEnv(
            playable_simulator(task, backend, num_envs),
            auto_reset=True,
            ignore_terminations=not task.simulator_ends,
        )
        return cls(envs, seed, task.cameras)

    def reset(self, seed: int | None = None) -> Tensor:
        first = self._seed if seed is None else seed
        observation, _ = self._envs.reset(seed=[first + i for i in range(self.num_envs)])
        observation, self.images = self._split(observation)
        return observation.float().clone()

    def step(self, action: Tensor) -> Step:
        observation, reward, terminated, truncated, info = self._envs.step(action)
        ended = terminated | truncated
        # After a reset, ManiSkill's info belongs to the new episode, and final_info to this frame.
        frame_info = info.get("final_info", info)
        final, final_images = self._split(info.get("final_observation", observation))
        observation, self.images = self._split(observation)
        return Step(
            observation=observation.float().clone(),
            reward=reward.float(),
            terminated=terminated.clone(),
            truncated=truncated & ~terminated,
            success=frame_info["success"].bool().clone(),
            final_observation=torch.where(ended[:, None], final, observation).float(),
            images=self.images,
            final_images=replaced(self.images, ended, {c: i[ended] for c, i in final_images.items()}),
        )

    def restart(self, rows: Tensor) -> tuple[Tensor, Images]:
        [places] = rows.nonzero(as_tuple=True)
        observation, _ = self._envs.reset(options={"env_idx": places})
        observation, images = self._split(observation)
        return observation.float().clone(), images

    def picture(self) -> NDArray[np.uint8] | None:
        return None

    def _split(self, observation: Any) -> tuple[Tensor, Images]:
        """State and images of ManiSkill's observation."""
        if not self._cameras:
            return observation, NO_IMAGES
        images = images_in(observation, self._cameras)
        return observation[STATE], {camera: image.clone() for camera, image in images.items()}

    def close(self) -> None:
        self._envs.close()
