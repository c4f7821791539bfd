"""ManiSkill3 -> frames. Auto-reset and final observations are settled here, once.

Two adapters, one contract (`VectorEnvironment`): processes for `physx_cpu`, one batched simulator
for `physx_cuda`. Both start the next episode within the step that ended the last one.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Protocol

import gymnasium
import numpy as np
import torch
from torch import Tensor

from actor.policy.images import NO_IMAGES, Images
from actor.simulators.cameras import (
    STATE,
    CameraObservation,
    images_in,
    missing_cameras,
    rendered,
    replaced,
)
from actor.simulators.headless import choose_renderer, prepare_simulator
from config.main import Task


class TaskError(ValueError):
    """A task that cannot be made; the message names the key."""


@dataclass(frozen=True)
class Step:
    """One step of N sub-environments; tensors on the simulator's device.

    Attributes:
        observation: (N, observation_dim) float32, to act on next: after a reset where one ended.
        reward: (N,) float32.
        terminated: (N,) bool, the episode ended for good.
        truncated: (N,) bool, the episode was cut at its limit; never together with `terminated`.
        success: (N,) bool, of the frame just executed.
        final_observation: (N, observation_dim) float32, true last observation where the episode
            ended, else equal to `observation`.
        images: of task.cameras, like `observation`.
        final_images: like `final_observation`.
    """

    observation: Tensor
    reward: Tensor
    terminated: Tensor
    truncated: Tensor
    success: Tensor
    final_observation: Tensor
    images: Images = field(default_factory=dict)
    final_images: Images = field(default_factory=dict)

    @property
    def ended(self) -> Tensor:
        """(N,) bool: was reset within this step."""
        return self.terminated | self.truncated


class VectorEnvironment(Protocol):
    """N sub-environments that reset themselves."""

    num_envs: int
    observation_dim: int
    action_dim: int
    images: Images
    """Of task.cameras, beside the newest observation."""

    def reset(self, seed: int | None = None) -> Tensor:
        """First observations (N, observation_dim) of new episodes everywhere.

        With `seed`, sub-environment i plays seeds seed + i, seed + i + N, ... from here on.
        """
        ...

    def step(self, action: Tensor) -> Step:
        """Execute actions (N, action_dim) in [-1, 1]."""
        ...

    def close(self) -> None: ...


class SeededEpisodes(gymnasium.Wrapper):
    """Numbers the episodes of one sub-environment: episode n has seed `first + n * stride`.

    Whoever resets (the vector environment, by itself) need not know about seeds, and a run repeats.
    A seed given to `reset` restarts the numbering there.
    Passes on only what the actor reads of `info`.
    """

    def __init__(self, env: gymnasium.Env, first: int, stride: int) -> None:
        super().__init__(env)
        self._next_seed = first
        self._stride = stride

    @torch.inference_mode()
    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict]:
        if seed is not None:
            self._next_seed = seed
        observation, _ = self.env.reset(seed=self._next_seed % 2**31, options=options)
        self._next_seed += self._stride
        return observation, {}

    @torch.inference_mode()
    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict]:
        observation, reward, terminated, truncated, info = self.env.step(action)
        return observation, float(reward), terminated, truncated, {"success": bool(info["success"])}


def make_simulator(task: Task, backend: str, num_envs: int) -> gymnasium.Env:
    """ManiSkill's own environment for `task`.

    Raises:
        TaskError: ManiSkill knows no such task, control mode or camera.
        RenderError: cameras, and nothing here that renders.
    """
    render_backend = choose_renderer() if task.cameras else prepare_simulator()
    settings = dict(
        obs_mode=task.obs_mode,
        control_mode=task.control_mode,
        reward_mode=task.reward_mode,
        sim_backend=backend,
        render_backend=render_backend,
        max_episode_steps=task.max_episode_steps,
        # Shapes that are drawn with the scene belong to the episode's seed. A batch cannot build one
        # sub-environment's scene alone.
        reconfiguration_freq=int(task.reconfigure and backend == "physx_cpu"),
    )
    made = make_maniskill(task.env_id, num_envs=num_envs, **settings | rendered(task))
    problem = missing_cameras(task, made)
    if problem is not None:
        made.close()
        raise TaskError(f"task.cameras={list(task.cameras)} do not fit task.env_id={task.env_id}: {problem}")
    return made


def make_maniskill(env_id: str, **settings: Any) -> gymnasium.Env:
    """gymnasium.make; what ManiSkill refuses is a TaskError that names the keys."""
    try:
        return gymnasium.make(env_id, **settings)
    except gymnasium.error.Error as error:
        raise TaskError(f"task.env_id={env_id}: {error}") from error
    except (AssertionError, KeyError, NotImplementedError) as error:
        modes = ("control_mode", "reward_mode")
        chosen = ", ".join(f"task.{mode}={settings[mode]}" for mode in modes if mode in settings)
        raise TaskError(f"task.env_id={env_id} with {chosen} cannot be made: {error!r}") from error


def single_environment(task: Task, first_seed: int, stride: int) -> gymnasium.Env:
    """One CPU simulator with numpy at its border, in this process."""
    from mani_skill.utils.wrappers import CPUGymWrapper

    from actor.simulators.quick import quicken

    torch.set_num_threads(1)
    env: gymnasium.Env = CPUGymWrapper(make_simulator(task, "physx_cpu", 1))
    quicken()
    return SeededEpisodes(CameraObservation(env, task) if task.cameras else env, first_seed, stride)


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
        require_unit_actions(envs.single_action_space)

    @classmethod
    def make(cls, task: Task, backend: str, num_envs: int, seed: int) -> BatchedEnvironment:
        from mani_skill.vector.wrappers.gymnasium import ManiSkillVectorEnv

        envs = ManiSkillVectorEnv(make_simulator(task, backend, num_envs), auto_reset=True)
        return cls(envs, seed, task.cameras)

    def reset(self, seed: int | None = None) -> Tensor:
        first = self._seed if seed is None else seed
        observation, _ = self._envs.reset(seed=[first + i for i in range(self.num_envs)])
        observation, self.images = self._parted(observation)
        return observation.float().clone()

    def step(self, action: Tensor) -> Step:
        observation, reward, terminated, truncated, info = self._envs.step(action)
        ended = terminated | truncated
        # After a reset, ManiSkill's info is the new episode's; the frame's own lies in final_info.
        frame_info = info.get("final_info", info)
        final, final_images = self._parted(info.get("final_observation", observation))
        observation, self.images = self._parted(observation)
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

    def _parted(self, observation: Any) -> tuple[Tensor, Images]:
        """State and images of ManiSkill's observation."""
        if not self._cameras:
            return observation, NO_IMAGES
        images = images_in(observation, self._cameras)
        return observation[STATE], {camera: image.clone() for camera, image in images.items()}

    def close(self) -> None:
        self._envs.close()


def require_unit_actions(space: Any) -> None:
    """Raise TaskError unless every action lies in exactly [-1, 1]: the base knows no other."""
    if isinstance(space, gymnasium.spaces.Dict):
        raise TaskError("task.env_id has the actions of several robots, a base drives one")
    if not (np.allclose(space.low, -1) and np.allclose(space.high, 1)):
        raise TaskError(
            "task.control_mode has actions outside [-1, 1]: choose a delta control mode such as "
            "pd_ee_delta_pose"
        )


def require_task(env_id: str, cameras: tuple[str, ...] = ()) -> None:
    """Raise TaskError unless ManiSkill knows `env_id` and has its files, RenderError for cameras where
    nothing renders; costs ManiSkill's import."""
    if cameras:
        choose_renderer()
    else:
        prepare_simulator()
    if env_id not in gymnasium.registry:
        raise TaskError(f"task.env_id={env_id} is not registered with ManiSkill: check its spelling")
    if missing := _missing_assets(env_id):
        raise TaskError(
            f"task.env_id={env_id} needs files that are not here ({', '.join(missing)}): "
            f".venv/bin/python -m mani_skill.utils.download_asset {env_id}"
        )


def _missing_assets(env_id: str) -> list[str]:
    """What ManiSkill would ask about at a prompt."""
    from mani_skill.utils import assets

    if env_id not in assets.DATA_GROUPS:
        return []
    needed = assets.expand_data_group_into_individual_data_source_ids(env_id)
    return sorted(name for name in needed if not assets.is_data_source_downloaded(name))


def make_environment(
    task: Task, backend: str, num_envs: int, seed: int, processes: int | None = None
) -> VectorEnvironment:
    """`num_envs` sub-environments of `task`; sub-environment i plays seeds seed + i + n * num_envs.

    CPU simulators run in up to `processes` processes; None: one less than there are processors.

    On `physx_cuda` only the first episodes are seeded one by one; the simulator's own generator
    goes on from there.

    Raises:
        TaskError: unknown task, control mode or camera, or unsuitable action space.
        RenderError: cameras, and nothing here that renders.
    """
    require_task(task.env_id, task.cameras)
    if backend == "physx_cpu":
        from actor.simulators.processes import ProcessEnvironment, shares

        return ProcessEnvironment(task, shares(num_envs, processes), seed)
    return BatchedEnvironment.make(task, backend, num_envs, seed)
