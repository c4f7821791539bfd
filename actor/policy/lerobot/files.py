"""Loads a policy of LeRobot or of a plugin, with its processors, and checks that it fits the task."""

from pathlib import Path
from typing import Any

from lerobot.configs.policies import PreTrainedConfig
from lerobot.configs.types import FeatureType
from lerobot.policies.factory import get_policy_class, make_pre_post_processors
from lerobot.utils.constants import ACTION, OBS_IMAGES
from lerobot.utils.import_utils import register_third_party_plugins

from actor.policy.contract import CheckpointError
from actor.policy.dimensions import dimensions_of
from actor.policy.lerobot.policy import LeRobotBase, image_features
from config.base import LeRobotBaseConfig
from config.task import TaskConfig

# Which extra of pyproject.toml brings what a policy imports and LeRobot alone does not.
EXTRAS = {"groot": "groot", "pi0": "pi0", "pi05": "pi0", "pi0_fast": "pi0", "smolvla": "smolvla"}


def load_lerobot_base(settings: LeRobotBaseConfig, task: TaskConfig, device: str) -> LeRobotBase:
    """The policy in a folder, or of a hub id, that LeRobot saved.
    Raises CheckpointError: the policy is not available, an extra or weights are missing, or the task's
    observation cannot fill its features."""
    register_third_party_plugins()
    config = _read_config(settings, device)
    if ACTION not in (config.output_features or {}):
        raise CheckpointError(f"base {settings.path}, of type {config.type}, gives no actions: not a policy")
    try:
        return _load(config, settings, task, device)
    except ImportError as error:  # LeRobot asks for a policy's packages when it needs them
        how = f"bash launch/setup_env.sh {EXTRAS[config.type]}; " if config.type in EXTRAS else ""
        raise CheckpointError(
            f"base {settings.path} is a {config.type} policy, and a package for it is missing: {how}{error}"
        ) from error


def _load(
    config: PreTrainedConfig, settings: LeRobotBaseConfig, task: TaskConfig, device: str
) -> LeRobotBase:
    policy = _load_policy(config, settings.path)
    observation_dim = dimensions_of(task).observation_dim
    return LeRobotBase(
        policy,
        _load_processors(config, settings.path, device),
        observation_fields(config, settings, observation_dim),
        settings,
        observation_dim=observation_dim,
        feature_cameras=image_cameras(config, settings, task),
        device=device,
    )


def _read_config(settings: LeRobotBaseConfig, device: str) -> PreTrainedConfig:
    if Path(settings.path).is_dir() and not (Path(settings.path) / "config.json").is_file():
        raise CheckpointError(f"no LeRobot policy at {settings.path}: config.json is missing")
    try:
        config = PreTrainedConfig.from_pretrained(settings.path)
    except Exception as error:  # a dozen kinds: hub, network, JSON, draccus
        raise CheckpointError(
            f"base.path={settings.path} is neither a folder nor a hub id of a LeRobot policy that this "
            f"environment knows (its plugin may be missing): {error}"
        ) from error
    for name, value in (settings.overrides or {}).items():
        if not hasattr(config, name):
            raise CheckpointError(f"base.overrides.{name}: a {config.type} policy has no such setting")
        setattr(config, name, value)
    config.device = device
    if hasattr(config, "pretrained_backbone_weights"):
        # The policy's own weights replace them: nothing to download.
        setattr(config, "pretrained_backbone_weights", None)  # noqa: B010, a field of some kinds alone
    return config


def _load_policy(config: PreTrainedConfig, path: str) -> Any:
    policy_class = _policy_class(config.type, path)
    took_weights: list[Any] = []

    class Watched(policy_class):
        def load_state_dict(self, *args: Any, **kwargs: Any) -> Any:
            keys = super().load_state_dict(*args, **kwargs)
            took_weights.append(self)
            return keys

    try:
        policy = Watched.from_pretrained(path, config=config, strict=True)
    except (OSError, RuntimeError, ValueError) as error:
        raise CheckpointError(f"base {path}: its {config.type} policy cannot be loaded: {error}") from error
    # pi0 and pi05 print what is wrong with the weights and go on with random ones.
    if policy not in took_weights:
        raise CheckpointError(f"base {path}: the weights of its {config.type} policy cannot be loaded")
    policy.__class__ = policy_class
    return policy


def _policy_class(kind: str, path: str) -> Any:
    try:
        return get_policy_class(kind)
    except ValueError as error:
        raise CheckpointError(
            f"base {path} is of type {kind}, which neither LeRobot's factory nor an installed "
            f"lerobot_policy_* package knows: {error}"
        ) from error


def _load_processors(config: PreTrainedConfig, path: str, device: str) -> tuple[Any, Any]:
    overrides = {"device_processor": {"device": device}}
    try:
        return make_pre_post_processors(config, path, preprocessor_overrides=overrides)
    except (OSError, ValueError, KeyError) as error:
        raise CheckpointError(f"base {path}: its processors cannot be loaded: {error}") from error


def observation_fields(
    config: PreTrainedConfig, settings: LeRobotBaseConfig, observation_dim: int
) -> dict[str, tuple[int, int]]:
    """Which numbers [first, end) of the task's observation make up each of the policy's features.
    Raises CheckpointError: sizes that do not add up; names both sides."""
    wanted = {
        name: tuple(feature.shape)
        for name, feature in (config.input_features or {}).items()
        if feature.type is not FeatureType.VISUAL
    }
    fields = settings.observation or _in_turn(wanted)
    for name, shape in wanted.items():
        first, end = fields.get(name, (0, 0))
        if (end - first,) != shape or first < 0:
            raise CheckpointError(
                f"base {settings.path} takes {name} of shape {list(shape)}, base.observation gives it "
                f"[{first}, {end}): set base.observation={{{name}: [first, end]}} over the task's numbers"
            )
    end = max((end for _, end in fields.values()), default=0)
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
        if tuple(feature.shape) != (3, height, width):
            raise CheckpointError(
                f"base {settings.path} takes {name} of shape {list(feature.shape)}, task.camera_size gives "
                f"{[3, height, width]}: set task.camera_size=[{feature.shape[2]},{feature.shape[1]}]"
            )
    return {name: chosen[name] for name in image_features(config)}


def _in_turn(wanted: dict[str, tuple[int, ...]]) -> dict[str, tuple[int, int]]:
    fields, first = {}, 0
    for name, shape in wanted.items():
        fields[name] = (first, first + shape[0])
        first += shape[0]
    return fields
