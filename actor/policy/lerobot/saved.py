"""What LeRobot saved of a policy, of its own kinds or of a plugin: configuration, weights, processors.

LeRobot, draccus, safetensors and the policies' own code raise a dozen kinds of errors for files that do not
fit, so each call of them catches them all: a person gets one line.
"""

import logging
import re
import shlex
from importlib.metadata import version
from pathlib import Path
from typing import Any

from lerobot.configs.policies import PreTrainedConfig
from lerobot.configs.types import NormalizationMode
from lerobot.policies.factory import get_policy_class, make_pre_post_processors
from lerobot.processor.pipeline import ProcessorMigrationError
from safetensors import SafetensorError, safe_open
from torch import Tensor

from actor.policy.checkpoint_file import reason, require_weights
from actor.policy.contract import CheckpointError
from actor.policy.lerobot.foreign_code import guarded
from actor.policy.weights import Weights, plain_name, require_finite
from config.base import LeRobotBaseConfig

log = logging.getLogger(__name__)

# Layers of policies from before LeRobot had processors.
_NORMALISES = re.compile(r"(normalize_inputs|normalize_targets|unnormalize_outputs)\.")

LEROBOT = f"LeRobot {version('lerobot')}"


@guarded()
def read_config(settings: LeRobotBaseConfig, device: str) -> PreTrainedConfig:
    """config.json with `base.overrides`.
    Raises CheckpointError: there is none, or this LeRobot cannot use it."""
    folder = Path(settings.path)
    if folder.is_dir():
        _require_files(folder)
    try:
        config = PreTrainedConfig.from_pretrained(settings.path)
    except Exception as error:
        where = (
            f"base.path={settings.path}: {LEROBOT} cannot use its config.json (another LeRobot saved it, or "
            "its plugin is missing)"
            if folder.is_dir()
            else f"base.path={settings.path} is neither a folder nor a hub id of a LeRobot policy"
        )
        raise CheckpointError(f"{where}: {_reason(error)}") from error
    for name, value in (settings.overrides or {}).items():
        if not hasattr(config, name):
            raise CheckpointError(f"base.overrides.{name}: a {config.type} policy has no such setting")
        setattr(config, name, value)
    if config.use_peft:
        raise CheckpointError(
            f"base {settings.path} is a PEFT adapter: merge it into its policy (peft's merge_and_unload) and "
            "save that"
        )
    if getattr(config, "temporal_ensemble_coeff", None) is not None:
        log.warning("base %s: plans are executed as they are, without its temporal ensemble", settings.path)
    config.device = device
    if hasattr(config, "pretrained_backbone_weights"):
        # The policy's own weights replace them: nothing to download.
        setattr(config, "pretrained_backbone_weights", None)  # noqa: B010, a field of some kinds alone
    return config


def _require_files(folder: Path) -> None:
    """Raise CheckpointError, which names the file, unless all that LeRobot will read can be read."""
    if not (folder / "config.json").is_file():
        raise CheckpointError(f"no LeRobot policy at {folder}: config.json is missing")
    for path in sorted({folder / "model.safetensors", *folder.glob("*.safetensors")}):
        if path.name == "model.safetensors" and not path.exists():
            continue  # a policy's packages are asked for first
        require_weights(path)
        try:
            with safe_open(path, "numpy"):
                pass
        except SafetensorError as error:
            raise CheckpointError(
                f"{path} is not a readable checkpoint ({reason(error)}): copy it again"
            ) from error


@guarded()
def load_policy(config: PreTrainedConfig, path: str) -> tuple[Any, Weights]:
    """The policy with its weights, and the statistics of observations and actions that were among the weights
    before LeRobot had processors.
    Raises CheckpointError: they do not fit, or are not finite. ImportError: a package is missing."""
    policy_class = _policy_class(config.type, path)
    took_weights: list[Any] = []
    statistics: Weights = {}

    class Watched(policy_class):
        def load_state_dict(self, state_dict: Weights, *args: Any, **kwargs: Any) -> Any:
            known = self.state_dict().keys()
            weights = _as_named_here(state_dict, known, path)
            others = {name: value for name, value in weights.items() if name not in known}
            statistics.update({name: others[name] for name in others if _NORMALISES.match(name)})
            used = {name: value for name, value in weights.items() if name not in statistics}
            keys = super().load_state_dict(used, *args, **kwargs)
            took_weights.append(self)
            return keys

    try:
        policy = Watched.from_pretrained(path, config=config, strict=True)
    except ImportError:
        raise
    except Exception as error:
        raise CheckpointError(
            f"base {path}: its {config.type} policy cannot be loaded: {reason(error)}"
        ) from error
    # pi0 and pi05 print what is wrong with the weights and go on with random ones.
    if policy not in took_weights:
        raise CheckpointError(f"base {path}: the weights of its {config.type} policy cannot be loaded")
    policy.__class__ = policy_class
    require_finite(policy.named_parameters(), f"base {path}")
    return policy, statistics


def _as_named_here(found: Weights, known: Any, path: str) -> Weights:
    """Weights under the policy's own names, without those that wrappers added."""
    names = {
        name: plain_name(name) if name not in known and plain_name(name) in known else name for name in found
    }
    if changed := [name for name, ours in names.items() if name != ours]:
        log.info("base %s: wrappers' parts removed from the names of weights, as in %s", path, changed[0])
    return {names[name]: value for name, value in found.items()}


def _policy_class(kind: str, path: str) -> Any:
    try:
        return get_policy_class(kind)
    except ValueError as error:
        raise CheckpointError(
            f"base {path} is of type {kind}, which neither LeRobot's factory nor an installed "
            f"lerobot_policy_* package knows: {_reason(error)}"
        ) from error


@guarded()
def load_processors(config: PreTrainedConfig, path: str, device: str, statistics: Weights) -> tuple[Any, Any]:
    """Pre- and post-processor: the saved ones, or, of a policy from before LeRobot had them, new ones.

    Args:
        statistics: of the observations and actions, as `load_policy` finds them.

    Raises CheckpointError: they are missing, or this LeRobot cannot load them."""
    overrides = {"device_processor": {"device": device}}
    try:
        return make_pre_post_processors(config, path, preprocessor_overrides=overrides)
    except ProcessorMigrationError as error:
        if not statistics:
            raise CheckpointError(
                f"base {path}: policy_preprocessor.json is missing: copy it, policy_postprocessor.json and "
                "their .safetensors from where the policy was trained"
            ) from error
        log.info("base %s: saved before LeRobot had processors, made them of its statistics", path)
        return make_pre_post_processors(config, dataset_stats=_by_feature(config, statistics, path))
    except ImportError as error:
        raise CheckpointError(
            f"base {path}: {LEROBOT} does not know a step of its processors ({_reason(error)}): install the "
            "package that brings it, or save the policy with this LeRobot"
        ) from error
    except Exception as error:
        raise CheckpointError(f"base {path}: its processors cannot be loaded: {reason(error)}") from error


def _by_feature(config: PreTrainedConfig, statistics: Weights, path: str) -> dict[str, dict[str, Tensor]]:
    """Statistics by feature and kind, from names such as normalize_inputs.buffer_observation_state.mean.
    Raises CheckpointError: a feature that is to be normalised has none."""
    found: dict[str, dict[str, Tensor]] = {}
    # Every kind of policy has it, their common class does not declare it.
    normalization: dict[str, NormalizationMode] = vars(config)["normalization_mapping"]
    for name, feature in {**(config.input_features or {}), **(config.output_features or {})}.items():
        layer = f"buffer_{name.replace('.', '_')}"
        parts = {key.split(".")[-1]: value for key, value in statistics.items() if layer in key.split(".")}
        mode = normalization.get(feature.type.value, NormalizationMode.IDENTITY)
        if not parts and mode is not NormalizationMode.IDENTITY:
            raise CheckpointError(
                f"base {path} was saved before LeRobot had processors, and its weights have no statistics of "
                f"{name}: run python -m lerobot.processor.migrate_policy_normalization --pretrained-path "
                f"{shlex.quote(path)}, and set base.path to the folder that it writes"
            )
        found[name] = parts
    return {name: parts for name, parts in found.items() if parts}


def _reason(error: Exception) -> str:
    """As `reason`, without LeRobot's lists of all that it knows."""
    return reason(error).partition(" Available ")[0]
