"""Images of ManiSkill's cameras beside its state observation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import gymnasium
import numpy as np
from torch import Tensor

from actor.policy.images import Images
from config.task import TaskConfig

STATE = "state"


def rendered(task: TaskConfig) -> dict[str, Any]:
    """What ManiSkill must be told, beyond the backend, to render `task.cameras`; nothing without any."""
    if not task.cameras:
        return {}
    width, height = task.camera_size
    return {"obs_mode": "state+rgb", "sensor_configs": {"width": width, "height": height}}


def missing_cameras(task: TaskConfig, simulator: Any) -> str | None:
    """Why `task.cameras` cannot be had from a simulator, in words, or None."""
    found = sorted(simulator.unwrapped.scene.sensors) if task.cameras else []
    missing = [camera for camera in task.cameras if camera not in found]
    return f"it has the cameras {found}, not {missing}" if missing else None


def images_in(observation: Mapping[str, Any], cameras: tuple[str, ...]) -> dict[str, Any]:
    """Camera -> image, of ManiSkill's nested observation."""
    return {camera: observation["sensor_data"][camera]["rgb"] for camera in cameras}


class CameraObservation(gymnasium.ObservationWrapper):
    """One simulator's observation as {"state": f4 (O,), camera: u1 (height, width, 3), ...}."""

    def __init__(self, env: gymnasium.Env, task: TaskConfig) -> None:
        super().__init__(env)
        width, height = task.camera_size
        picture = gymnasium.spaces.Box(0, 255, (height, width, 3), np.uint8)
        self._cameras = task.cameras
        self.observation_space = gymnasium.spaces.Dict(
            {STATE: env.observation_space[STATE], **dict.fromkeys(self._cameras, picture)}  # type: ignore[index]
        )

    def observation(self, observation: Mapping[str, Any]) -> dict[str, np.ndarray]:
        return {STATE: observation[STATE], **images_in(observation, self._cameras)}


def replaced(images: Images, rows: Tensor, others: Images) -> Images:
    """The images with those of `rows` (N,) bool replaced by `others`, in order."""
    if not rows.any():
        return images
    made = {camera: image.clone() for camera, image in images.items()}
    for camera, image in others.items():
        made[camera][rows] = image
    return made
