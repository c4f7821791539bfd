"""What of a run is shared: a residual, or a base, as a folder of tensors, plain JSON and YAML.

No optimiser state, nothing that is unpickled, and nothing about this machine."""

import shutil
from pathlib import Path
from typing import Any

import msgspec
import yaml

from actor.policy.behaviour_transformer.checkpoint import load_transformer
from actor.policy.checkpoint_file import write_safetensors
from actor.policy.diffusion.checkpoint import load_agent
from config.base import BehaviourTransformerBaseConfig, DiffusionBaseConfig, LeRobotBaseConfig
from config.main import Config
from config.process import UsageError

RESIDUAL = "residual.safetensors"
_FACTS = ("version", "updates", "success", "episodes")


def facts_of(checkpoint: dict[str, Any]) -> dict[str, Any]:
    """What a residual's checkpoint says of itself beside its networks."""
    return {name: checkpoint[name] for name in _FACTS if name in checkpoint}


def write_residual(folder: Path, config: Config, checkpoint: dict[str, Any]) -> None:
    """residual.safetensors, which `--residual` takes, residual.json and training.yaml."""
    algo = msgspec.to_builtins(config.algo)
    content = {**facts_of(checkpoint), "algo": algo, "actor": checkpoint["actor"]}
    write_safetensors(folder / RESIDUAL, content)
    _write_settings(folder, config)


def write_base(folder: Path, config: Config) -> None:
    """A folder that `base.path` takes. Raises UsageError: the run's base has no files here."""
    place = Path(config.base.path)
    folder.mkdir(parents=True, exist_ok=True)
    match config.base:
        case DiffusionBaseConfig():
            weights = {"ema_agent": load_agent(place).state_dict()}
            write_safetensors(folder / "checkpoints" / "best.safetensors", weights)
            shutil.copy(place / "args.json", folder)
        case BehaviourTransformerBaseConfig():
            weights = {"agent": load_transformer(place).state_dict()}
            write_safetensors(folder / "checkpoints" / "best.safetensors", weights)
            shutil.copy(place / "args.json", folder)
        case LeRobotBaseConfig() if place.is_dir():
            for path in [*place.glob("*.json"), *place.glob("*.safetensors")]:
                shutil.copy(path, folder)
        case LeRobotBaseConfig():
            raise UsageError(f"the base of this run is {place} of the Hub: it is there already")
        case _:
            raise UsageError(
                f"base={config.base.__struct_config__.tag} has no files to share: base=diffusion, "
                "base=behaviour_transformer and base=lerobot have"
            )
    # Prior data of the default recipe.
    if (place / "demos.h5").is_file():
        shutil.copy(place / "demos.h5", folder)
    _write_settings(folder, config)


def _write_settings(folder: Path, config: Config) -> None:
    """What another run needs to be like it; not where things lie on this machine, nor who was connected."""
    plain = msgspec.to_builtins(config)
    kept = {name: plain[name] for name in ("seed", "task", "base", "algo")}
    kept["base"].pop("path")
    if config.task.classifier is not None:
        kept["task"]["success"] = f"classifier:{config.task.classifier.name}"
    (folder / "training.yaml").write_text(yaml.safe_dump(kept, sort_keys=False))
