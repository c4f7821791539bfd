"""Images of ManiSkill's cameras beside its state observation."""

from collections.abc import Mapping
from typing import Any, cast

import gymnasium
import numpy as np
from torch import Tensor

from actor.policy.images import Images
from config.task import TaskConfig
from protocol.arrays import DTYPES
from protocol.pictures import COLOURS, DISTANCES, camera_of, modality_of

STATE = "state"

# ManiSkill's names. Its depth is int16, in millimetres; 0 where there is nothing.
_TEXTURES = {COLOURS: "rgb", DISTANCES: "depth"}


def rendered(task: TaskConfig) -> dict[str, Any]:
    """ManiSkill's arguments, beyond the backend, that render `task.cameras`; none without cameras."""
    if not task.cameras:
        return {}
    width, height = task.camera_size
    kinds = dict.fromkeys(_TEXTURES[modality_of(name)] for name in task.cameras)
    return {"obs_mode": "+".join(["state", *kinds]), "sensor_configs": {"width": width, "height": height}}


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
    missing = [name for name in task.cameras if camera_of(name) not in found]
    return f"it has the cameras {found}, not {missing}" if missing else None


def images_in(observation: Mapping[str, Any], cameras: tuple[str, ...]) -> dict[str, Any]:
    """Camera -> image, of ManiSkill's nested observation."""
    shown = observation["sensor_data"]
    return {name: shown[camera_of(name)][_TEXTURES[modality_of(name)]] for name in cameras}


def picture_spaces(task: TaskConfig) -> dict[str, gymnasium.spaces.Box]:
    """What images of each of task.cameras are: (height, width, channels)."""
    width, height = task.camera_size
    spaces: dict[str, gymnasium.spaces.Box] = {}
    for name in task.cameras:
        kind = modality_of(name)
        dtype = DTYPES[kind.dtype]
        spaces[name] = gymnasium.spaces.Box(0, np.iinfo(dtype).max, kind.shape((height, width)), dtype.type)
    return spaces


class CameraObservation(gymnasium.ObservationWrapper):
    """One simulator's observation as {"state": f4 (O,), camera: image as `picture_spaces` says, ...}."""

    def __init__(self, env: gymnasium.Env, task: TaskConfig) -> None:
        super().__init__(env)
        self._cameras = task.cameras
        shown = cast(gymnasium.spaces.Dict, env.observation_space)
        self.observation_space = gymnasium.spaces.Dict({STATE: shown[STATE], **picture_spaces(task)})

    def observation(self, observation: Mapping[str, Any]) -> dict[str, np.ndarray]:
        images = images_in(observation, self._cameras)
        unsigned = {name: image.view(DTYPES[modality_of(name).dtype]) for name, image in images.items()}
        return {STATE: observation[STATE], **unsigned}


def replaced(images: Images, rows: Tensor, others: Images) -> Images:
    """The images with those of `rows` (N,) bool replaced by `others`, in order."""
    if not rows.any():
        return images
    made = {camera: image.clone() for camera, image in images.items()}
    for camera, image in others.items():
        made[camera][rows] = image
    return made
