"""What LeRobot saved of a policy, of its own kinds or of a plugin: configuration, weights, processors.

LeRobot, draccus, safetensors and the policies' own code raise a dozen kinds of errors for files that do not
fit, so each call of them catches them all: a person gets one line.
"""

import logging
import shlex
from importlib.metadata import version
from pathlib import Path
from typing import Any

from lerobot.configs.policies import PreTrainedConfig
from lerobot.policies.factory import get_policy_class, make_pre_post_processors
from lerobot.processor.migrate_policy_normalization import remove_normalization_layers
from lerobot.processor.pipeline import ProcessorMigrationError
from safetensors import SafetensorError, safe_open

from actor.policy.checkpoint_file import reason, require_weights
from actor.policy.contract import CheckpointError
from actor.policy.weights import Weights, plain_name, require_finite
from config.base import LeRobotBaseConfig

log = logging.getLogger(__name__)

LEROBOT = f"LeRobot {version('lerobot')}"


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
        raise CheckpointError(f"{where}: {reason(error)}") from error
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


def load_policy(config: PreTrainedConfig, path: str) -> tuple[Any, bool]:
    """The policy with its weights, and whether the weights' file has statistics of the observations as well,
    as LeRobot's did before it had processors.
    Raises CheckpointError: they do not fit, or are not finite. ImportError: a package is missing."""
    policy_class = _policy_class(config.type, path)
    took_weights: list[Any] = []
    statistics: set[str] = set()

    class Watched(policy_class):
        def load_state_dict(self, state_dict: Weights, *args: Any, **kwargs: Any) -> Any:
            weights = _as_named_here(state_dict, self.state_dict().keys(), path)
            kept = remove_normalization_layers(weights)
            statistics.update(weights.keys() - kept.keys() - self.state_dict().keys())
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
    return policy, bool(statistics)


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
            f"lerobot_policy_* package knows: {reason(error)}"
        ) from error


def load_processors(
    config: PreTrainedConfig, path: str, device: str, has_statistics: bool
) -> tuple[Any, Any]:
    """Pre- and post-processor.

    Args:
        has_statistics: as `load_policy` says: LeRobot's migration can make processors of the weights.

    Raises CheckpointError: they are missing, or this LeRobot cannot load them."""
    overrides = {"device_processor": {"device": device}}
    try:
        return make_pre_post_processors(config, path, preprocessor_overrides=overrides)
    except ProcessorMigrationError as error:
        raise CheckpointError(f"base {path}: {_without_processors(path, has_statistics)}") from error
    except ImportError as error:
        unknown = reason(error).partition(" Available steps")[0]
        raise CheckpointError(
            f"base {path}: {LEROBOT} does not know a step of its processors ({unknown}): install the package "
            "that brings it, or save the policy with this LeRobot"
        ) from error
    except Exception as error:
        raise CheckpointError(f"base {path}: its processors cannot be loaded: {reason(error)}") from error


def _without_processors(path: str, has_statistics: bool) -> str:
    if not has_statistics:
        return (
            "policy_preprocessor.json is missing: copy it, policy_postprocessor.json and their .safetensors "
            "from where the policy was trained"
        )
    return (
        "it was saved before LeRobot had processors: run python -m "
        f"lerobot.processor.migrate_policy_normalization --pretrained-path {shlex.quote(path)}, then set "
        "base.path to the folder that it writes; if config.json is empty there, copy config.json and "
        "model.safetensors of the old folder into it"
    )
