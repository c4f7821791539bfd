"""ManiSkill's own environments, made and seeded."""

import difflib
import inspect
from collections.abc import Iterator, Mapping
from typing import Any

import gymnasium
import msgspec
import torch
from torch import Tensor

from actor.simulators.cameras import CameraObservation, filmed, missing_cameras, rendered
from actor.simulators.contacts import no_contacts
from actor.simulators.contract import TaskError, UnplayableError, require_unit_actions
from actor.simulators.headless import SOFTWARE_BACKEND, choose_renderer, prepare_simulator, quiet_driver
from actor.simulators.seeded import SeededEpisodes
from config.asked import Answer
from config.task import TaskConfig

PRELOADED = ("actor.simulators.bundle", "mani_skill.envs")


def make_simulator(
    task: TaskConfig,
    backend: str,
    num_envs: int,
    picture: tuple[int, int] | None = None,
    obs_mode: str = "state",
) -> gymnasium.Env:
    """ManiSkill's own environment for `task`.

    Args:
        obs_mode: ManiSkill's, without cameras.
        picture: width and height of what `render` returns; None: it returns nothing.

    Raises:
        TaskError: ManiSkill knows no such task, control mode or camera.
        RenderError: cameras or `picture`, and nothing here that renders.
    """
    render_backend = choose_renderer() if task.cameras or picture else prepare_simulator()
    settings = dict(
        obs_mode=obs_mode,
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


def playable_simulator(
    task: TaskConfig, backend: str, num_envs: int, picture: tuple[int, int] | None = None
) -> gymnasium.Env:
    """As `make_simulator`, for episodes. Raises UnplayableError as well, see `require_playable`."""
    made = make_simulator(task, backend, num_envs, picture)
    require_playable(made, task.env_id, task.reward_mode)
    return made


def require_playable(made: gymnasium.Env, env_id: str, reward_mode: str = "sparse") -> None:
    """Raise UnplayableError unless a base can act, episodes can succeed, and the task has the reward."""
    from mani_skill.envs.sapien_env import BaseEnv

    simulator: Any = made.unwrapped
    require_unit_actions(simulator.single_action_space)
    if "success" not in simulator.get_info():
        raise UnplayableError(
            f"task.env_id={env_id} reports no success, which training counts: choose another task, or a "
            "subclass of it whose evaluate() returns success (docs/how-to/your-own-task.md)"
        )
    dense: Any = type(simulator).compute_normalized_dense_reward
    if reward_mode == "normalized_dense" and dense is BaseEnv.compute_normalized_dense_reward:
        raise UnplayableError(f"task.env_id={env_id} has no dense reward: set task.reward_mode=sparse")


def make_maniskill(env_id: str, **settings: Any) -> gymnasium.Env:
    """gymnasium.make; raises TaskError, which names the keys, if ManiSkill refuses or asks for a download."""
    try:
        return gymnasium.make(env_id, **settings)
    except gymnasium.error.Error as error:
        raise TaskError(f"task.env_id={env_id}: {error}") from error
    except EOFError as error:
        raise TaskError(
            f"task.env_id={env_id} asks whether to download files of its robot or scene, and nobody can "
            "answer: its last lines name them, .venv/bin/python -m mani_skill.utils.download_asset <name> "
            "brings them"
        ) from error
    except (AssertionError, FileNotFoundError, KeyError, NotImplementedError) as error:
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
    made = playable_simulator(task, "physx_cpu", 1, picture)
    env: gymnasium.Env = CPUGymWrapper(made, ignore_terminations=not task.simulator_ends)
    quicken()
    shown = CameraObservation(env, task) if task.cameras else env
    return SeededEpisodes(shown, first_seed, stride, lambda: no_contacts(env.unwrapped))


def require(task: TaskConfig, *, draws: bool) -> None:
    """As `require_task`."""
    require_task(task.env_id, task.cameras, draws=draws)


def require_task(env_id: str, cameras: tuple[str, ...] = (), *, draws: bool = False) -> None:
    """Raise TaskError unless ManiSkill knows `env_id` and has its files, RenderError for cameras, or where
    it `draws`, on a host that cannot render. Imports ManiSkill, which takes seconds."""
    if cameras or draws:
        choose_renderer()
    else:
        prepare_simulator()
    # gymnasium's own registry has tasks of others as well.
    from mani_skill.utils.registration import REGISTERED_ENVS

    if env_id not in REGISTERED_ENVS:
        similar = difflib.get_close_matches(env_id, REGISTERED_ENVS)
        raise TaskError(
            f"task.env_id={env_id} is not registered with ManiSkill: check its spelling"
            + (f" ({' or '.join(similar)}?)" if similar else "")
        )
    for group in (env_id, *_robots(REGISTERED_ENVS[env_id])):
        if missing := _missing_assets(group):
            raise TaskError(
                f"task.env_id={env_id} needs files that are missing ({', '.join(missing)}): "
                f".venv/bin/python -m mani_skill.utils.download_asset {group}"
            )


def _robots(registered: Any) -> list[str]:
    """Names of the robots that a task has if nobody chooses others."""
    parameter = inspect.signature(registered.cls.__init__).parameters.get("robot_uids")
    default = None if parameter is None else parameter.default
    chosen = (registered.default_kwargs or {}).get("robot_uids", default)
    return [
        robot
        for robot in (chosen if isinstance(chosen, tuple | list) else [chosen])
        if isinstance(robot, str)
    ]


def _missing_assets(group: str) -> list[str]:
    """Files of a task or robot that ManiSkill would offer to download at a prompt."""
    from mani_skill.utils import assets

    if group not in assets.DATA_GROUPS:
        return []
    needed = assets.expand_data_group_into_individual_data_source_ids(group)
    return sorted(name for name in needed if not assets.is_data_source_downloaded(name))


def state_layout(task: TaskConfig) -> Answer:
    """As of `Simulator`.
    Raises TaskError: ManiSkill does not know or cannot build it, or, UnplayableError, no run can play it."""
    require_task(task.env_id)
    env = make_maniskill(
        task.env_id, num_envs=1, obs_mode="state_dict", control_mode=task.control_mode,
        sim_backend="physx_cpu", render_backend=prepare_simulator(),
    )  # fmt: skip
    try:
        maniskill: Any = env.unwrapped
        require_playable(env, task.env_id)
        layout = {name: len(values) for name, values in _parts(maniskill.get_obs())}
        return Answer(layout, maniskill.single_action_space.shape[0])
    finally:
        env.close()


def first_observation(task: TaskConfig, seed: int) -> dict[str, Tensor]:
    """Each part's name and values (n,), in the order of the state observation.
    Raises TaskError: unknown task or control mode."""
    require_task(task.env_id)
    # The same values before ManiSkill's `flatten_state_dict` puts them in one row.
    env = make_simulator(msgspec.structs.replace(task, cameras=()), "physx_cpu", 1, obs_mode="state_dict")
    try:
        observation, _ = env.reset(seed=seed)
        return dict(_parts(observation))
    finally:
        env.close()


def _parts(observation: Mapping[str, Any], within: str = "") -> Iterator[tuple[str, Tensor]]:
    for name, value in observation.items():
        if isinstance(value, Mapping):
            yield from _parts(value, f"{within}{name}.")
        else:
            yield f"{within}{name}", torch.as_tensor(value).float().flatten()


def draws_slowly(task: TaskConfig) -> bool:
    """Whether the processor draws. Raises RenderError: nothing here does."""
    with quiet_driver():
        return choose_renderer() == SOFTWARE_BACKEND
