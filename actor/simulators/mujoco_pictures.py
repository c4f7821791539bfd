"""Pictures of MuJoCo's tasks of gymnasium, and what draws them without a screen."""

# pyright: reportMissingImports=false
# MuJoCo comes with the extra fetch, which need not be installed.

import logging
import os
import subprocess
import sys
from functools import cache
from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray

from actor.simulators.contract import RenderError
from protocol.pictures import DEPTH, DISTANCES, camera_of, depths_in, modality_of

log = logging.getLogger(__name__)

RENDER = "render"
"""The camera of a task's own render()."""
VARIABLE = "MUJOCO_GL"
# A GPU where one draws, or Mesa; the processor.
_LIBRARIES = ("egl", "osmesa")
_DRAWS = "import mujoco; mujoco.GLContext(16, 16).make_current()"

Picture = NDArray[Any]
"""(height, width, 3) u1, or of depth (height, width, 1) u2, in millimetres; see `protocol.pictures`."""

_FARTHEST = np.iinfo(np.uint16).max


@cache
def choose_gl() -> str:
    """The library that draws in this process and those it starts: MUJOCO_GL, else the first that works.
    Raises RenderError: none does."""
    if VARIABLE in os.environ:
        return os.environ[VARIABLE]
    for name in _LIBRARIES:
        if _draws(name):
            log.info("%s draws the pictures of MuJoCo (%s=%s)", name, VARIABLE, name)
            os.environ[VARIABLE] = name
            return name
    raise RenderError(
        "task.cameras and films need OpenGL without a screen, and neither EGL nor OSMesa draws here: "
        f"apt-get install libosmesa6, or a GPU driver with EGL; {VARIABLE} names another library"
    )


def require_gl() -> str:
    """As `choose_gl`, and it was tried. Raises RenderError: none draws, or what MUJOCO_GL names does not."""
    name = choose_gl()
    if not _draws(name):
        raise RenderError(
            f"task.cameras and films need OpenGL without a screen, and {VARIABLE}={name} does not draw here: "
            "unset it, and what works is chosen, or install what it names"
        )
    return name


@cache
def _draws(name: str) -> bool:
    # In a process: what cannot draw may end it, and a library that is loaded stays.
    tried = subprocess.run(
        [sys.executable, "-c", _DRAWS], env={**os.environ, VARIABLE: name}, capture_output=True
    )
    return tried.returncode == 0


def is_mujoco(env: gymnasium.Env) -> bool:
    """Whether a task is one of MuJoCo's."""
    return hasattr(env.unwrapped, "mujoco_renderer")


class MujocoPictures:
    """Pictures from cameras of a simulator, of one size. Drawing changes nothing in it.

    Args:
        size: width and height.
    """

    def __init__(self, env: gymnasium.Env, size: tuple[int, int]) -> None:
        # Of an accelerator that nobody needs it says that it is not there.
        logging.getLogger("OpenGL").setLevel(logging.WARNING)
        import mujoco
        from gymnasium.envs.mujoco.mujoco_rendering import MujocoRenderer

        choose_gl()
        self._mujoco: Any = mujoco  # its stubs lack what its binary part has
        self._simulator: Any = env.unwrapped
        model, (width, height) = self._simulator.model, size
        buffer = model.vis.global_
        buffer.offwidth, buffer.offheight = max(buffer.offwidth, width), max(buffer.offheight, height)
        self._drawn, self._all = self._mujoco.MjData(model), self._mujoco.mjtState.mjSTATE_INTEGRATION
        self._state = np.empty(self._mujoco.mj_stateSize(model, self._all), np.float64)
        own = self._simulator.mujoco_renderer
        self._renderer = MujocoRenderer(
            model, self._drawn, default_cam_config=own.default_cam_config, width=width, height=height
        )
        named = {model.camera(i).name: i for i in range(model.ncam) if model.camera(i).name}
        # The picture of a camera whose name ends as depth's do could not be told from another's depth.
        self._cameras = {RENDER: own.camera_id} | {n: i for n, i in named.items() if not depths_in([n])}
        self._drawings: dict[str, tuple[Picture, Picture]] = {}

    @property
    def names(self) -> list[str]:
        """The pictures that there are."""
        return [*self._cameras, *(camera + DEPTH for camera in self._cameras)]

    def look(self) -> None:
        """Make the simulator's state that of the next pictures."""
        self._drawings = {}
        simulator, data = self._simulator, self._simulator.data
        self._mujoco.mj_getState(simulator.model, data, self._state, self._all)
        self._mujoco.mj_setState(simulator.model, self._drawn, self._state, self._all)
        # A task moves its marks, such as the goal, before it draws. That computes places anew, from which it
        # would step on differently than without pictures: so it is given the copy.
        move_marks = getattr(simulator, "_render_callback", None)
        if move_marks is None:
            self._mujoco.mj_forward(simulator.model, self._drawn)
            return
        simulator.data = self._drawn
        try:
            move_marks()
        finally:
            simulator.data = data

    def picture(self, name: str) -> Picture:
        """What a camera shows; it is drawn once, for its colours and its depth."""
        camera = camera_of(name)
        if camera not in self._drawings:
            self._drawings[camera] = self._draw(self._cameras[camera])
        colours, distances = self._drawings[camera]
        return distances if modality_of(name) is DISTANCES else colours

    def _draw(self, number: int) -> tuple[Picture, Picture]:
        """The colours and the depth that the camera with this number shows."""
        self._renderer.camera_id = number
        if self._renderer.viewer is not None:
            self._renderer.viewer.make_context_current()
        renderer: Any = self._renderer
        colours, buffer = renderer.render("rgbd_tuple")
        return np.ascontiguousarray(colours), _millimetres(buffer, renderer.viewer.scn.camera[0])

    def close(self) -> None:
        self._renderer.close()


def _millimetres(buffer: NDArray[np.float32], camera: Any) -> Picture:
    """(height, width, 1) of OpenGL's depth buffer (height, width) in [0, 1]: distances along the axis of a
    camera of MuJoCo's scene."""
    near, far = camera.frustum_near, camera.frustum_far
    metres = near + buffer * (far - near) if camera.orthographic else near / (1 - buffer * (1 - near / far))
    millimetres = (1000 * metres).round().clip(0, _FARTHEST)
    return np.where(buffer < 1, millimetres, _FARTHEST).astype(np.uint16)[..., None]
