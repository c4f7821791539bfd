"""A ManiSkill3 task for LeRobot. This file needs ManiSkill and LeRobot alone: it can be the env.py of a
repository of the Hub, where LeRobot calls `make_env`.

Episodes are those of residual-rl: the same seed gives the same episode.
"""

import contextlib
import functools
import importlib
import logging
import os
import sys
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import gymnasium
import numpy as np
import torch
from lerobot.envs.utils import freeze_after_episode_end

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Settings:
    """What is simulated.

    Attributes:
        task: ManiSkill's name of it.
        fps: control steps a second, for films and datasets.
        control_mode: one whose actions lie in [-1, 1].
        max_episode_steps: after which an episode is truncated.
        robot_state_dim: this many first dimensions of the observation are `agent_pos`, the others
            `environment_state`; None: all are `agent_pos`.
        cameras: of the task, whose pictures the observation has.
        camera_size: width and height of pictures.
        reconfigure: build the scene again for every episode, for tasks that draw its shapes then.
        render: what `render` returns: "auto", a picture where a GPU draws, else a black one; "always", drawn
            by the processor if need be; "never".
        imports: modules that register tasks of your own.
    """

    task: str = "PickCube-v1"
    fps: int = 20
    control_mode: str = "pd_ee_delta_pose"
    max_episode_steps: int = 100
    robot_state_dim: int | None = 18
    cameras: tuple[str, ...] = ()
    camera_size: tuple[int, int] = (128, 128)
    reconfigure: bool = False
    render: Literal["auto", "always", "never"] = "auto"
    imports: tuple[str, ...] = ()


def make_env(n_envs: int = 1, use_async_envs: bool = False, cfg: Any = None) -> gymnasium.vector.VectorEnv:
    """`n_envs` simulators, in processes of their own with `use_async_envs`. `cfg`: None: those above.

    An episode that is over stays as it ended until LeRobot resets all of them.
    """
    settings = cfg if isinstance(cfg, Settings) else Settings()
    makers = [freeze_after_episode_end(functools.partial(ManiSkillEnv, settings))] * n_envs
    mode = gymnasium.vector.AutoresetMode.SAME_STEP
    if use_async_envs and n_envs > 1:
        return gymnasium.vector.AsyncVectorEnv(makers, context="forkserver", autoreset_mode=mode)
    return gymnasium.vector.SyncVectorEnv(makers, autoreset_mode=mode)


class ManiSkillEnv(gymnasium.Env):
    """One CPU simulator.

    The observation has agent_pos, environment_state, pixels and episode: (5,), the episode's seed as four
    numbers of 16 bits, high ones first, and the frame. Equal seeds give equal episodes.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.task = self.task_description = settings.task
        self._max_episode_steps = settings.max_episode_steps
        self.metadata = {"render_modes": ["rgb_array"], "render_fps": settings.fps}
        self.render_mode = "rgb_array"
        self._draws = settings.render == "always" or (settings.render == "auto" and _gpu_draws())
        self._simulator = _make_simulator(settings, self._draws)
        space = self.action_space = self._simulator.action_space
        if not (np.allclose(space.low, -1) and np.allclose(space.high, 1)):
            raise ValueError(
                f"control_mode={settings.control_mode} has actions outside [-1, 1]: choose a delta one"
            )
        self._seed, self._frame = 0, 0
        shown = self._shown(self._simulator.reset(seed=0)[0])
        self.observation_space = gymnasium.spaces.Dict({name: _space(value) for name, value in shown.items()})

    @torch.inference_mode()
    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict]:
        super().reset(seed=seed)
        self._seed = int(self.np_random.integers(2**31)) if seed is None else seed
        self._frame = 0
        with _no_contacts(self._simulator.unwrapped):
            observation, _ = self._simulator.reset(seed=self._seed % 2**31)
        return self._shown(observation), {"is_success": False}

    @torch.inference_mode()
    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict]:
        observation, reward, terminated, truncated, info = self._simulator.step(action)
        self._frame += 1
        ended = bool(terminated), bool(truncated and not terminated)
        return self._shown(observation), float(reward), *ended, {"is_success": bool(info["success"])}

    def render(self) -> np.ndarray:
        if self._draws:
            return np.asarray(self._simulator.render())
        return np.zeros((64, 64, 3), np.uint8)

    def close(self) -> None:
        self._simulator.close()

    def _shown(self, observation: Any) -> dict[str, Any]:
        cameras, robot = self._settings.cameras, self._settings.robot_state_dim
        state = np.asarray(observation["state"] if cameras else observation, np.float32)
        parts = [(self._seed >> shift) & 0xFFFF for shift in (48, 32, 16, 0)]
        shown: dict[str, Any] = {
            "agent_pos": state[:robot],
            "episode": np.array([*parts, self._frame], np.float32),
        }
        if robot is not None:
            shown["environment_state"] = state[robot:]
        if cameras:
            shown["pixels"] = {c: np.asarray(observation["sensor_data"][c]["rgb"]) for c in cameras}
        return shown


def _space(value: Any) -> gymnasium.Space:
    if isinstance(value, dict):
        return gymnasium.spaces.Dict({name: _space(part) for name, part in value.items()})
    low, high = (0, 255) if value.dtype == np.uint8 else (-np.inf, np.inf)
    return gymnasium.spaces.Box(low, high, value.shape, value.dtype.type)


def _make_simulator(settings: Settings, draws: bool) -> Any:
    backend = _prepare(pictures=draws or bool(settings.cameras))
    for name in settings.imports:
        importlib.import_module(name)
    from mani_skill.utils.wrappers import CPUGymWrapper

    width, height = settings.camera_size
    cameras = {"obs_mode": "state+rgb", "sensor_configs": {"width": width, "height": height}}
    pictures = {"render_mode": "rgb_array", "human_render_camera_configs": {"width": 256, "height": 256}}
    made = gymnasium.make(
        settings.task, num_envs=1, control_mode=settings.control_mode, reward_mode="sparse",
        sim_backend="physx_cpu", render_backend=backend, max_episode_steps=settings.max_episode_steps,
        reconfiguration_freq=int(settings.reconfigure),
        **(cameras if settings.cameras else {"obs_mode": "state"}), **(pictures if draws else {}),
    )  # fmt: skip
    return CPUGymWrapper(made)


class _Untouched:
    """A physics system that knows of no contacts; for the rest it is the one that is given."""

    def __init__(self, system: Any) -> None:
        self._system = system

    def __getattr__(self, name: str) -> Any:
        return getattr(self._system, name)

    def get_contacts(self) -> list[Any]:
        return []


@contextlib.contextmanager
def _no_contacts(simulator: Any) -> Generator[None]:
    """Around a reset: else the first observation tells of contacts of the episode before."""
    scene = simulator.scene
    system, scene.px = scene.px, _Untouched(scene.px)
    try:
        yield
    finally:
        scene.px = system


_SOFTWARE_DRIVER = "/usr/lib/chromium/vk_swiftshader_icd.json"


def _prepare(*, pictures: bool) -> str:
    """Import ManiSkill so that it works here, and return the render backend to ask for."""
    no_gpu = not any(Path("/dev").glob("nvidia[0-9]*")) and not any(Path("/dev/dri").glob("render*"))
    if pictures and no_gpu and Path(_SOFTWARE_DRIVER).is_file():
        os.environ.setdefault("VK_ICD_FILENAMES", _SOFTWARE_DRIVER)
    found = _vulkan_found()
    if not found:
        if pictures:
            raise RuntimeError(
                "pictures need a Vulkan device and this host shows none: install a GPU driver with Vulkan or "
                "Debian's chromium, or set VK_ICD_FILENAMES to a driver's file"
            )
        _replace_material()
    import mani_skill.envs  # noqa: F401

    if not found:
        _replace_material()
    if _gpu_draws():
        return "gpu"
    return _software_backend() if pictures else "none"


@functools.cache
def _vulkan_found() -> bool:
    import sapien.render

    try:
        sapien.render.RenderMaterial()
    except RuntimeError:
        return False
    return True


@functools.cache
def _gpu_draws() -> bool:
    import sapien

    try:
        return bool(sapien.Device("cuda").can_render())
    except RuntimeError:
        return False


class _Material:
    """Stands for sapien's, which needs Vulkan: loaders of robots make one, and nothing looks at it."""

    def __init__(self, **attributes: Any) -> None:
        self.__dict__.update(attributes)

    def set_base_color(self, color: Any) -> None:
        self.base_color = color


def _replace_material() -> None:
    for name in ("sapien.render", "sapien.pysapien.render", "sapien.wrapper.urdf_loader"):
        importlib.import_module(name)
    for name, module in list(sys.modules.items()):
        if name.startswith(("mani_skill", "sapien")) and hasattr(module, "RenderMaterial"):
            vars(module)["RenderMaterial"] = _Material


@functools.cache
def _software_backend() -> str:
    """Let ManiSkill accept a device that draws without a GPU, which its parser cannot name."""
    import mani_skill.envs.sapien_env as simulators
    import sapien

    parse = simulators.parse_sim_and_render_backend

    def parse_ours_as_well(sim_backend: str, render_backend: str) -> Any:
        if render_backend != "software":
            return parse(sim_backend, render_backend)
        backend = parse(sim_backend, "none")
        backend.render_device, backend.render_backend = sapien.Device("pci:0"), "sapien_cpu"
        return backend

    simulators.parse_sim_and_render_backend = parse_ours_as_well
    log.info("the processor draws: the first picture takes half a minute or more")
    return "software"
