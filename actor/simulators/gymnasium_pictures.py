"""Pictures of gymnasium's tasks beside their state: from MuJoCo's cameras, or what render() shows."""

from collections.abc import Mapping
from typing import Any, Protocol

import cv2
import gymnasium
import numpy as np

from actor.simulators.cameras import STATE, picture_spaces
from actor.simulators.contract import TaskError
from actor.simulators.mujoco_pictures import RENDER, MujocoPictures, Picture, is_mujoco
from config.task import TaskConfig
from protocol.pictures import depths_in


class Pictures(Protocol):
    """What draws a task."""

    @property
    def names(self) -> list[str]: ...
    def look(self) -> None: ...
    def picture(self, name: str) -> Picture: ...
    def close(self) -> None: ...


class RenderedPictures:
    """What render() shows, in the size asked for."""

    names = [RENDER]

    def __init__(self, env: gymnasium.Env, size: tuple[int, int]) -> None:
        self._env, self._size = env, size

    def look(self) -> None:
        pass

    def picture(self, name: str) -> Picture:
        shown: Any = self._env.render()
        fitted = cv2.resize(np.asarray(shown, np.uint8), self._size, interpolation=cv2.INTER_AREA)
        return fitted.astype(np.uint8, copy=False)

    def close(self) -> None:
        pass


def pictures_of(env: gymnasium.Env, size: tuple[int, int]) -> Pictures:
    """What draws a task in pictures of `size` (width, height). Raises RenderError: nothing here does."""
    return MujocoPictures(env, size) if is_mujoco(env) else RenderedPictures(env, size)


class WithPictures(gymnasium.Wrapper):
    """A task's rows with images of task.cameras beside them, as `CameraObservation`.

    With task.obs=pixels there is no state: one dimension that is always 0.

    Raises TaskError: a camera that the task does not have. Raises RenderError: nothing here draws.
    """

    def __init__(self, env: gymnasium.Env, task: TaskConfig) -> None:
        super().__init__(env)
        self._cameras = task.cameras
        self._drawn = pictures_of(env, task.camera_size)
        names = self._drawn.names
        missing = [camera for camera in task.cameras if camera not in names]
        if missing:
            cameras = [name for name in names if not depths_in([name])]
            also = ", each also as <camera>_depth" if depths_in(names) else ""
            raise TaskError(
                f"task.cameras={list(task.cameras)} do not fit task.env_id={task.env_id}: it has the cameras "
                f"{cameras}{also}, not {missing}"
            )
        self.observation_space = gymnasium.spaces.Dict({STATE: env.observation_space, **picture_spaces(task)})

    def reset(self, **options: Any) -> tuple[Mapping[str, Any], dict]:
        row, info = self.env.reset(**options)
        return self._shown(row), info

    def step(self, action: Any) -> tuple[Mapping[str, Any], Any, bool, bool, dict]:
        row, reward, terminated, truncated, info = self.env.step(action)
        return self._shown(row), reward, terminated, truncated, info

    def _shown(self, row: Any) -> dict[str, Any]:
        self._drawn.look()
        return {STATE: row, **{camera: self._drawn.picture(camera) for camera in self._cameras}}

    def close(self) -> None:
        self._drawn.close()
        super().close()


class Filmed(gymnasium.Wrapper):
    """A task whose `render` returns pictures of one size. Raises RenderError: nothing here draws."""

    def __init__(self, env: gymnasium.Env, size: tuple[int, int]) -> None:
        super().__init__(env)
        self._drawn = pictures_of(env, size)

    def render(self) -> Any:
        self._drawn.look()
        return self._drawn.picture(RENDER)

    def close(self) -> None:
        self._drawn.close()
        super().close()
