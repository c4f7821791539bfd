"""Tasks of gymnasium's registry: numbers as one row, actions in [-1, 1], success as the task tells it."""

import importlib
import importlib.metadata
import os
from contextlib import redirect_stderr
from io import StringIO
from typing import Any

import gymnasium
import numpy as np
import torch
from torch import Tensor

from actor.simulators.contract import RenderError, TaskError, UnplayableError
from actor.simulators.mujoco_pictures import VARIABLE, is_mujoco, require_gl
from actor.simulators.seeded import SeededEpisodes
from actor.simulators.spaces import ActionScale, StateRow
from config.asked import Answer
from config.process import one_line
from config.spaces import BLIND
from config.task import GymnasiumConfig, TaskConfig

PRELOADED = ("actor.simulators.bundle",)

# The extra that brings a package, and the first release of MuJoCo with which its tasks do not run: there the
# address of a joint is an array, and Fetch asserts that it is none.
_EXTRAS = {"gymnasium_robotics": "fetch"}
_MUJOCO_FROM = {"gymnasium_robotics": (3, 4)}


class TaskEnvironment(gymnasium.Wrapper):
    """One task of gymnasium as all simulators are seen: a row of numbers, actions in [-1, 1], `success`.

    With task.obs=pixels a row is one dimension that is always 0.
    """

    def __init__(self, env: gymnasium.Env, task: TaskConfig) -> None:
        super().__init__(env)
        self._task, self._settings = task, settings_of(task)
        self._state = None if task.obs == "pixels" else state_of(env, task)
        self.scale = ActionScale(env.action_space, task.env_id)
        dimension = sum(BLIND.values()) if self._state is None else self._state.dimension
        self.observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (dimension,), np.float32)
        self.action_space = gymnasium.spaces.Box(-1, 1, (self.scale.dimension,), np.float32)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict]:
        observation, info = self.env.reset(seed=seed, options=options)
        return self._row(observation), info

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict]:
        observation, given, terminated, truncated, info = self.env.step(self.scale.own(action))
        reward = float(given)
        success = self._succeeded(info, reward, terminated, ended=terminated or truncated)
        if self._task.simulator_ends:
            terminated = terminated or success
        if self._task.reward_mode == "sparse":
            reward = float(success)
        return self._row(observation), reward, bool(terminated), bool(truncated), {"success": success}

    def _row(self, observation: Any) -> Any:
        return np.zeros(1, np.float32) if self._state is None else self._state.of(observation)

    def _succeeded(self, info: dict[str, Any], reward: float, terminated: bool, *, ended: bool) -> bool:
        name = self._settings.success
        if name == "terminated":
            return bool(terminated)
        if self._settings.success_reward is not None:
            return reward >= self._settings.success_reward
        # Some tasks say it at an episode's end alone.
        if name not in info and ended:
            raise UnplayableError(
                f"task.env_id={self._task.env_id} reports no info[{name!r}] at an episode's end, it has "
                f"{sorted(info) or 'nothing'}: set task.gymnasium.success"
            )
        return bool(info.get(name, False))


def settings_of(task: TaskConfig) -> GymnasiumConfig:
    """task.gymnasium"""
    assert task.gymnasium is not None  # TaskConfig requires it
    return task.gymnasium


def state_of(env: gymnasium.Env, task: TaskConfig) -> StateRow:
    """How the state of a task's observation becomes a row.
    Raises UnplayableError: it has pictures, or no numbers."""
    row = StateRow(env.observation_space, task.env_id)
    if row.pictures or not row.dimension:
        names = ", ".join("/".join(at) or "all of it" for at in row.pictures) or "no numbers"
        raise UnplayableError(
            f"task.env_id={task.env_id} has pictures in its observation ({names}), and task.obs={task.obs} "
            "asks for its state: choose a task of numbers, leave them out with "
            "gymnasium.wrappers.FilterObservation, or set task.obs=pixels task.cameras=[render]"
        )
    return row


def require(task: TaskConfig, *, draws: bool) -> None:
    """Raise TaskError unless gymnasium knows the task and its packages are here, RenderError for cameras, or
    where it `draws`, if nothing does here."""
    _require_registered(task)
    if task.cameras or draws:
        draws_slowly(task)


def draws_slowly(task: TaskConfig) -> bool:
    """Whether the processor draws. Raises RenderError: nothing here does."""
    env = make_simulator(task, draws=True)
    try:
        if is_mujoco(env):
            return require_gl() == "osmesa"
        env.reset(seed=0)
        _require_picture(env, task)
        return False
    finally:
        env.close()


def _require_picture(env: gymnasium.Env, task: TaskConfig) -> None:
    try:
        shown: Any = env.render()
    except gymnasium.error.Error as error:
        raise RenderError(f"task.env_id={task.env_id} draws no pictures here: {one_line(error)}") from error
    if not isinstance(shown, np.ndarray):
        raise RenderError(f"task.env_id={task.env_id} draws no pictures: its render() has no mode rgb_array")


def _require_registered(task: TaskConfig) -> None:
    _register(task)
    try:
        gymnasium.spec(task.env_id)
    except gymnasium.error.Error as error:
        raise TaskError(
            f"task.env_id={task.env_id} is not in gymnasium's registry: {error} "
            "(task.gymnasium.package names the package that registers it)"
        ) from error


def _register(task: TaskConfig) -> None:
    """Import the package that registers the task.
    Raises TaskError: it is missing, or MuJoCo is, or is of a release that does not fit. RenderError:
    MUJOCO_GL names a library that is not here."""
    package = settings_of(task).package
    if package is None:
        return
    extra = _EXTRAS.get(package)
    install = "install it" if extra is None else f"bash launch/setup_env.sh {extra}"
    if package in _MUJOCO_FROM:
        _require_mujoco(task.env_id, _MUJOCO_FROM[package], install)
    try:
        with redirect_stderr(StringIO()):  # advice about tasks that nobody asked for
            importlib.import_module(package)
    except ImportError as error:
        raise TaskError(f"task.env_id={task.env_id} needs {package} ({error}): {install}") from error
    except Exception as error:  # of a package's own code: any kind
        if package in _MUJOCO_FROM and VARIABLE in os.environ:
            require_gl()  # importing MuJoCo loads the library that this names
        raise TaskError(f"task.gymnasium.package={package} cannot be imported: {one_line(error)}") from error


def _require_mujoco(env_id: str, too_new: tuple[int, int], install: str) -> None:
    try:
        found = importlib.metadata.version("mujoco")
    except importlib.metadata.PackageNotFoundError as error:
        raise TaskError(f"task.env_id={env_id} needs mujoco: {install}") from error
    if tuple(int(number) for number in found.split(".")[:2]) >= too_new:
        below = ".".join(map(str, too_new))
        raise TaskError(
            f"task.env_id={env_id} does not run with mujoco {found}, only with one below {below}: {install}"
        )


def make_simulator(task: TaskConfig, *, draws: bool = False) -> gymnasium.Env:
    """gymnasium's own environment for `task`; `draws`: its render() returns pictures.
    Raises TaskError: gymnasium does not know it, or it cannot be made; one line."""
    _require_registered(task)
    try:
        with redirect_stderr(StringIO()):  # advice to take another release, for each simulator
            return gymnasium.make(
                task.env_id,
                max_episode_steps=task.max_episode_steps,
                disable_env_checker=True,
                **({"render_mode": "rgb_array"} if draws else {}),
            )
    # A task may be anybody's code, and raises what it likes.
    except Exception as error:
        raise TaskError(f"task.env_id={task.env_id} cannot be made: {one_line(error)}") from error


def single_environment(
    task: TaskConfig, first_seed: int, stride: int, picture: tuple[int, int] | None = None
) -> gymnasium.Env:
    """One sub-environment, in this process; see `Simulator`."""
    torch.set_num_threads(1)
    draws = bool(task.cameras) or picture is not None
    env: gymnasium.Env = TaskEnvironment(make_simulator(task, draws=draws), task)
    if draws:
        # Imported here: OpenCV, for tasks that draw.
        from actor.simulators.gymnasium_pictures import Filmed, WithPictures

        env = WithPictures(env, task) if task.cameras else env
        env = env if picture is None else Filmed(env, picture)
    return SeededEpisodes(env, first_seed, stride)


def state_layout(task: TaskConfig) -> Answer:
    """As of `Simulator`. Raises TaskError, UnplayableError: as `single_environment`."""
    env = make_simulator(task)
    try:
        layout = BLIND if task.obs == "pixels" else state_of(env, task).layout
        return Answer(dict(layout), ActionScale(env.action_space, task.env_id).dimension)
    finally:
        env.close()


def first_observation(task: TaskConfig, seed: int) -> dict[str, Tensor]:
    """Each part's name and values (n,), in the order of the state. Raises TaskError."""
    env = make_simulator(task)
    try:
        observation, _ = env.reset(seed=seed)
        row = state_of(env, task)
        values = torch.from_numpy(row.of(observation)).split([*row.layout.values()])
        return dict(zip(row.layout, values, strict=True))
    finally:
        env.close()
