"""ManiSkill's own environments, made and seeded."""

from typing import Any

import gymnasium
import torch

from actor.simulators.cameras import CameraObservation, filmed, missing_cameras, rendered
from actor.simulators.contract import TaskError
from actor.simulators.headless import choose_renderer, prepare_simulator
from config.task import TaskConfig


class SeededEpisodes(gymnasium.Wrapper):
    """Episode n of this sub-environment has the seed `first + n * stride`, so that a run repeats.

    A seed given to `reset` is the first of a new sequence. `info` has only what the actor reads.
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


def make_simulator(
    task: TaskConfig, backend: str, num_envs: int, picture: tuple[int, int] | None = None
) -> gymnasium.Env:
    """ManiSkill's own environment for `task`.

    Args:
        picture: width and height of what `render` returns; None: it returns nothing.

    Raises:
        TaskError: ManiSkill knows no such task, control mode or camera.
        RenderError: cameras or `picture`, and nothing here that renders.
    """
    render_backend = choose_renderer() if task.cameras or picture else prepare_simulator()
    settings = dict(
        obs_mode=task.obs_mode,
        control_mode=task.control_mode,
        reward_mode=task.reward_mode,
        sim_backend=backend,
        render_backend=render_backend,
        max_episode_steps=task.max_episode_steps,
        # With a new scene, shapes that are drawn with it depend on the episode's seed. A batch cannot rebuild
        # the scene of only one sub-environment.
        reconfiguration_freq=int(task.reconfigure and backend == "physx_cpu"),
    )
    made = make_maniskill(task.env_id, num_envs=num_envs, **settings | rendered(task) | filmed(picture))
    problem = missing_cameras(task, made)
    if problem is not None:
        made.close()
        raise TaskError(f"task.cameras={list(task.cameras)} do not fit task.env_id={task.env_id}: {problem}")
    return made


def make_maniskill(env_id: str, **settings: Any) -> gymnasium.Env:
    """gymnasium.make; raises TaskError, which names the keys, if ManiSkill refuses."""
    try:
        return gymnasium.make(env_id, **settings)
    except gymnasium.error.Error as error:
        raise TaskError(f"task.env_id={env_id}: {error}") from error
    except (AssertionError, KeyError, NotImplementedError) as error:
        modes = ("control_mode", "reward_mode")
        chosen = ", ".join(f"task.{mode}={settings[mode]}" for mode in modes if mode in settings)
        raise TaskError(f"task.env_id={env_id} with {chosen} cannot be made: {error!r}") from error


def single_environment(
    task: TaskConfig, first_seed: int, stride: int, picture: tuple[int, int] | None = None
) -> gymnasium.Env:
    """One CPU simulator with numpy at its border, in this process; `picture`: see `make_simulator`."""
    from mani_skill.utils.wrappers import CPUGymWrapper

    from actor.simulators.quick import quicken

    torch.set_num_threads(1)
    env: gymnasium.Env = CPUGymWrapper(make_simulator(task, "physx_cpu", 1, picture))
    quicken()
    return SeededEpisodes(CameraObservation(env, task) if task.cameras else env, first_seed, stride)


def require_task(env_id: str, cameras: tuple[str, ...] = ()) -> None:
    """Raise TaskError unless ManiSkill knows `env_id` and has its files, RenderError for cameras on a host
    that cannot render. Imports ManiSkill, which takes seconds."""
    if cameras:
        choose_renderer()
    else:
        prepare_simulator()
    if env_id not in gymnasium.registry:
        raise TaskError(f"task.env_id={env_id} is not registered with ManiSkill: check its spelling")
    if missing := _missing_assets(env_id):
        raise TaskError(
            f"task.env_id={env_id} needs files that are missing ({', '.join(missing)}): "
            f".venv/bin/python -m mani_skill.utils.download_asset {env_id}"
        )


def _missing_assets(env_id: str) -> list[str]:
    """Files that ManiSkill would offer to download at a prompt."""
    from mani_skill.utils import assets

    if env_id not in assets.DATA_GROUPS:
        return []
    needed = assets.expand_data_group_into_individual_data_source_ids(env_id)
    return sorted(name for name in needed if not assets.is_data_source_downloaded(name))
