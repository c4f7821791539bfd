"""Makes a base of a saved LeRobot policy, and checks that it fits the task."""

from dataclasses import dataclass
from typing import Any

from lerobot.configs.policies import PreTrainedConfig
from lerobot.configs.types import FeatureType
from lerobot.utils.constants import ACTION, OBS_IMAGES
from lerobot.utils.import_utils import register_third_party_plugins

from actor.policy.contract import CheckpointError
from actor.policy.dimensions import dimensions_of
from actor.policy.lerobot.policy import LeRobotBase, image_features
from actor.policy.lerobot.saved import load_policy, load_processors, read_config
from config.base import LeRobotBaseConfig, Ranges
from config.task import TaskConfig
from protocol.pictures import depths_in

# Which extra of pyproject.toml brings what a policy imports and LeRobot alone does not.
EXTRAS = {"groot": "groot", "pi0": "pi0", "pi05": "pi0", "pi0_fast": "pi0", "smolvla": "smolvla"}


def load_lerobot_base(settings: LeRobotBaseConfig, task: TaskConfig, device: str) -> LeRobotBase:
    """The policy in a folder, or of a hub id, that LeRobot saved.
    Raises CheckpointError: as `load_parts`, or a policy that cannot plan."""
    parts = load_parts(settings, task, device)
    return LeRobotBase(
        parts.policy,
        parts.processors,
        parts.fields,
        settings,
        observation_dim=parts.observation_dim,
        feature_cameras=parts.cameras,
        device=device,
    )


@dataclass(frozen=True)
class Parts:
    """A policy as LeRobot makes it, and how the task's observation fills its features."""

    policy: Any
    processors: tuple[Any, Any]
    fields: dict[str, Ranges]
    cameras: dict[str, str]
    """Of each image feature."""
    observation_dim: int


def load_parts(settings: LeRobotBaseConfig, task: TaskConfig, device: str) -> Parts:
    """What a base, or the training of one, is made of.
    Raises CheckpointError: the policy is not available, an extra or weights are missing, or the task's
    observation cannot fill its features."""
    register_third_party_plugins()
    config = read_config(settings, device)
    if ACTION not in (config.output_features or {}):
        raise CheckpointError(f"base {settings.path}, of type {config.type}, gives no actions: not a policy")
    try:
        policy, statistics = load_policy(config, settings.path)
        processors = load_processors(config, settings.path, device, statistics)
    except ImportError as error:  # LeRobot asks for a policy's packages when it needs them
        how = f"bash launch/setup_env.sh {EXTRAS[config.type]}; " if config.type in EXTRAS else ""
        raise CheckpointError(
            f"base {settings.path} is a {config.type} policy, and a package for it is missing: {how}{error}"
        ) from error
    observation_dim = dimensions_of(task).observation_dim
    fields = observation_fields(config, settings, task, observation_dim)
    return Parts(policy, processors, fields, image_cameras(config, settings, task), observation_dim)


def observation_fields(
    config: PreTrainedConfig, settings: LeRobotBaseConfig, task: TaskConfig, observation_dim: int
) -> dict[str, Ranges]:
    """Which numbers of the task's observation make up each of the policy's features.
    Raises CheckpointError: sizes that do not add up; names both sides."""
    wanted = {
        name: tuple(feature.shape)
        for name, feature in (config.input_features or {}).items()
        if feature.type is not FeatureType.VISUAL
    }
    fields = settings.ranges(task) or _in_turn(wanted)
    for name, shape in wanted.items():
        ranges = fields.get(name, ())
        if (sum(end - first for first, end in ranges),) != shape or any(first < 0 for first, _ in ranges):
            given = ", ".join(f"[{first}, {end})" for first, end in ranges) or "nothing"
            raise CheckpointError(
                f"base {settings.path} takes {name} of shape {list(shape)}, base.observation gives it "
                f"{given}: set base.observation={{{name}: [first, end]}} over the task's numbers"
            )
    end = max((end for ranges in fields.values() for _, end in ranges), default=0)
    # Features that were chosen may leave some of the task's numbers out.
    if end > observation_dim or (settings.observation is None and end < observation_dim):
        raise CheckpointError(
            f"base {settings.path} takes {wanted}, {end} observation numbers in all, the task has "
            f"{observation_dim}: choose a base that was trained on this task, or set base.observation"
        )
    return {name: fields[name] for name in wanted}


def image_cameras(config: PreTrainedConfig, settings: LeRobotBaseConfig, task: TaskConfig) -> dict[str, str]:
    """Which of the task's cameras each of the policy's image features is.
    Raises CheckpointError: a feature without a camera, or of another size; names both sides."""
    chosen = settings.cameras or {f"{OBS_IMAGES}.{camera}": camera for camera in task.cameras}
    width, height = task.camera_size
    for name, feature in image_features(config).items():
        camera = chosen.get(name)
        if camera not in task.cameras:
            raise CheckpointError(
                f"base {settings.path} looks at {name}, which base.cameras says is {camera or 'no camera'}, "
                f"the task has the cameras {list(task.cameras)}: set task.cameras=[<camera>] and "
                f"base.cameras={{{name}: <camera>}}"
            )
        if depths_in([camera]):
            raise CheckpointError(
                f"base {settings.path} looks at {name}, which base.cameras says is {camera}: bases see no "
                "depth, name a camera there, or choose another base"
            )
        if tuple(feature.shape) != (3, height, width):
            raise CheckpointError(
                f"base {settings.path} takes {name} of shape {list(feature.shape)}, task.camera_size gives "
                f"{[3, height, width]}: set task.camera_size=[{feature.shape[2]},{feature.shape[1]}]"
            )
    return {name: chosen[name] for name in image_features(config)}


def _in_turn(wanted: dict[str, tuple[int, ...]]) -> dict[str, Ranges]:
    fields, first = dict[str, Ranges](), 0
    for name, shape in wanted.items():
        fields[name] = ((first, first + shape[0]),)
        first += shape[0]
    return fields
