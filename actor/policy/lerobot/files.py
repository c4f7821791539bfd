"""A LeRobot policy's files as a base: what LeRobot's factory knows and what its plugins add, checked against
the task."""

from __future__ import annotations

import importlib.metadata
import importlib.util
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

# Policies that need what LeRobot alone does not bring: the extra of `pip install lerobot[...]`. Those of ours
# in pyproject.toml are called like the policy.
OUR_EXTRAS = ("pi0", "smolvla", "groot")
EXTRAS = {
    "smolvla": "smolvla",
    "groot": "groot",
    "xvla": "xvla",
    "wall_x": "wallx",
    "pi0": "transformers-dep",
    "pi05": "transformers-dep",
    "pi0_fast": "transformers-dep",
}
# What they import, asked for before anything is built: some only find out in the middle of that, with
# billions of numbers in memory. All of them want transformers, those of openpi one with LeRobot's changes.
OPENPI = "transformers.models.siglip.check"
OPENPI_BRANCH = "'transformers @ git+https://github.com/huggingface/transformers.git@fix/lerobot_openpi'"
MORE_MODULES = {"groot": ["tree"], "pi0": [OPENPI], "pi05": [OPENPI], "pi0_fast": [OPENPI]}


def load_lerobot_base(settings: LeRobotBaseConfig, task: TaskConfig, device: str) -> LeRobotBase:
    """The policy in a folder, or of a hub id, that LeRobot saved.

    Raises:
        CheckpointError: not to be had, a missing extra, weights that are not complete, or features that
            the task's observation cannot fill.
    """
    register_third_party_plugins()
    config = _read_config(settings, device)
    policy_class = _policy_class(config.type, settings.path)
    if ACTION not in (config.output_features or {}):
        raise CheckpointError(f"base {settings.path}, of type {config.type}, gives no actions: not a policy")
    try:
        policy = policy_class.from_pretrained(settings.path, config=config, strict=True)
    except ImportError as error:
        raise _missing_package(config.type, settings.path, str(error)) from error
    except (OSError, RuntimeError, ValueError) as error:
        raise CheckpointError(
            f"base {settings.path}: its {config.type} policy cannot be loaded: {error}"
        ) from error
    observation_dim = dimensions_of(task).observation_dim
    fields = observation_fields(config, settings, observation_dim)
    cameras = image_cameras(config, settings, task)
    processors = _load_processors(config, settings.path, device)
    return LeRobotBase(
        policy,
        processors,
        fields,
        settings,
        observation_dim=observation_dim,
        feature_cameras=cameras,
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


def _policy_class(kind: str, path: str) -> Any:
    for module in ["transformers", *MORE_MODULES.get(kind, [])] if kind in EXTRAS else []:
        if importlib.util.find_spec(module) is None:
            raise _missing_package(kind, path, f"no module named {module}")
    try:
        return get_policy_class(kind)
    except ImportError as error:
        raise _missing_package(kind, path, str(error)) from error
    except ValueError as error:
        raise CheckpointError(
            f"base {path} is of type {kind}, which neither LeRobot's factory nor an installed "
            f"lerobot_policy_* package knows: {error}"
        ) from error


def _missing_package(kind: str, path: str, what: str) -> CheckpointError:
    extra = f"[{EXTRAS[kind]}]" if kind in EXTRAS else ""
    theirs = f"'lerobot{extra}=={importlib.metadata.version('lerobot')}'"
    ours = f"the extra {kind}, bash launch/setup_env.sh {kind}, brings {theirs}"
    how = ours if kind in OUR_EXTRAS else f"pip install {theirs}"
    if OPENPI in MORE_MODULES.get(kind, []):
        how += f"; then, for LeRobot's changes to transformers, pip install {OPENPI_BRANCH}"
    return CheckpointError(f"base {path} is a {kind} policy, and a package for it is missing ({what}): {how}")


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

    Raises:
        CheckpointError: sizes that do not add up; names both sides.
    """
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

    Raises:
        CheckpointError: a feature without a camera, or of another size; names both sides.
    """
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
