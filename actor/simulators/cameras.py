"""Images of ManiSkill's cameras beside its state observation."""

from collections.abc import Mapping
from typing import Any, cast

import gymnasium
import numpy as np
from torch import Tensor

from actor.policy.images import Images
from config.task import TaskConfig

STATE = "state"


def rendered(task: TaskConfig) -> dict[str, Any]:
    """ManiSkill's arguments, beyond the backend, that render `task.cameras`; none without cameras."""
    if not task.cameras:
        return {}
    width, height = task.camera_size
    return {"obs_mode": "state+rgb", "sensor_configs": {"width": width, "height": height}}


def filmed(picture: tuple[int, int] | None) -> dict[str, Any]:
    """ManiSkill's arguments with which `render` gives what a person sees, in pictures of (width, height)."""
    if picture is None:
        return {}
    width, height = picture
    # "default" casts light, and a processor draws it in half the time of "minimal".
    camera = {"width": width, "height": height, "shader_pack": "default"}
    return {"render_mode": "rgb_array", "human_render_camera_configs": camera}


def missing_cameras(task: TaskConfig, simulator: Any) -> str | None:
    """Which of `task.cameras` a simulator lacks, in words; None: it has them all."""
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
        shown = cast(gymnasium.spaces.Dict, env.observation_space)
        self.observation_space = gymnasium.spaces.Dict(
            {STATE: shown[STATE], **dict.fromkeys(self._cameras, picture)}
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
