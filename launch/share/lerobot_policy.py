"""A run's policy as LeRobot loads it, with the plugin lerobot_policy_residual_rl."""

import json
import logging
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
from lerobot.processor import (
    AddBatchDimensionProcessorStep,
    DeviceProcessorStep,
    NormalizerProcessorStep,
    PolicyProcessorPipeline,
    RenameObservationsProcessorStep,
    UnnormalizerProcessorStep,
)
from safetensors.torch import save_model
from torch import nn

from actor.policy.contract import CheckpointError
from actor.policy.diffusion.checkpoint import load_agent
from actor.policy.dimensions import dimensions_of
from actor.policy.make import make_base
from actor.policy.padded import BASE_POSE, BASE_POSE_AT
from actor.policy.residual import ResidualActor
from config.algo import AlgoConfig
from config.base import DiffusionBaseConfig, LeRobotBaseConfig, Ranges, ZeroBaseConfig
from config.files import whole_folder
from config.main import Config
from config.process import UsageError
from config.residual import ResidualConfig
from launch.share.run_source import Shared

log = logging.getLogger("export")

STATE, ENVIRONMENT = "observation.state", "observation.environment_state"


@dataclass(frozen=True)
class BaseParts:
    """What of a base goes into the policy's folder.

    Attributes:
        settings: fields of config.json.
        module: its weights, under their names in the plugin's base.
        images: its image features, by name.
        processors: what LeRobot does before and after it; None for bases of this project.
    """

    settings: dict[str, Any]
    module: nn.Module = field(default_factory=nn.Module)
    images: dict[str, Any] = field(default_factory=dict)
    processors: tuple[Any, Any] | None = None


def export_policy(shared: Shared, target: Path, *, base_alone: bool = False) -> None:
    """Write config.json, model.safetensors and the processors to the new folder `target`.

    Args:
        base_alone: without the residual, for `lerobot-train` to go on with.

    Raises UsageError: `target` is there already. CheckpointError: base or residual cannot be used."""
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise UsageError(f"{target} exists: name a new folder")
    config = shared.config
    if unknown := [word for word in ("features", "pictures") if word in shared.residual.algo.sees]:
        raise UsageError(
            f"the residual of {shared.run_dir} sees {' and '.join(unknown)} (algo.sees), which the plugin "
            "for LeRobot does not have: play it with residual-rl evaluate, or train one that sees state or "
            "proprioception"
        )
    base = _base_parts(config)
    residual = _residual(shared)
    settings = _settings(config, shared.residual.algo, base)
    if base_alone:
        settings["residual_scale"] = 0.0
        for parameter in residual.parameters():
            nn.init.zeros_(parameter)
    with whole_folder(target, UsageError(f"{target} is being written by another process")) as folder:
        (folder / "config.json").write_text(json.dumps(settings, indent=2) + "\n")
        both = nn.ModuleDict({"base": base.module, "residual": residual})
        save_model(both, str(folder / "model.safetensors"))
        _write_processors(folder, base)
    log.info("wrote %s: %s", target, "the base alone" if base_alone else f"base and {shared.residual.place}")


def _settings(config: Config, algo: ResidualConfig, base: BaseParts) -> dict[str, Any]:
    """config.json, without what training alone uses."""
    action_dim = dimensions_of(config.task).action_dim
    return {
        "type": "residual_rl",
        "input_features": _state_features(config) | base.images,
        "output_features": {"action": {"type": "ACTION", "shape": [action_dim]}},
        "device": "cpu",
        "push_to_hub": False,
        **base.settings,
        "act_horizon": config.base.act_horizon,
        "residual_every": algo.residual_every,
        "residual_scale": algo.residual_scale,
        "residual_dims": algo.residual_dims,
        "residual_shape": algo.residual_shape,
        "relations": msgspec.to_builtins(algo.relations),
        "head": algo.output,
        # Plugins of earlier releases know the state alone.
        **({} if algo.sees == ("state",) else {"sees": algo.sees, "proprioception": algo.proprioception}),
        "actor_input": algo.actor_input,
        "hidden": algo.hidden,
        "first_seed": config.learner.evaluation.first_seed,
        "env_id": config.task.env_id,
        "control_mode": config.task.control_mode,
    }


def _state_features(config: Config) -> dict[str, Any]:
    """As the run's replay has them: the robot's state, and the rest as environment state."""
    observation_dim, robot = dimensions_of(config.task).observation_dim, config.learner.robot_state_dim
    if robot is None:
        return {STATE: {"type": "STATE", "shape": [observation_dim]}}
    return {
        STATE: {"type": "STATE", "shape": [robot]},
        ENVIRONMENT: {"type": "ENV", "shape": [observation_dim - robot]},
    }


def _residual(shared: Shared) -> ResidualActor:
    """The run's residual. Raises CheckpointError: they do not fit the run's configuration."""
    observation_dim, action_dim = dimensions_of(shared.config.task)
    algo = shared.residual.algo
    if not isinstance(algo, AlgoConfig) or algo.steers:
        raise UsageError(
            f"{shared.run_dir} has algo={algo.name}: a LeRobot policy is made of residuals of "
            "algo=residual_td3 and policy_decorator alone"
        )
    module = ResidualActor(algo, observation_dim, action_dim)
    try:
        module.load_state_dict(shared.residual.content["actor"], strict=True)
    except RuntimeError as error:
        raise CheckpointError(
            f"{shared.residual.place} does not fit the run {shared.run_dir}: {' '.join(str(error).split())}"
        ) from error
    return module


def _base_parts(config: Config) -> BaseParts:
    make_base(config.base, config.task, "cpu")  # everything that can be wrong with a base is said there
    match config.base:
        case DiffusionBaseConfig():
            return _diffusion(config.base)
        case LeRobotBaseConfig():
            return _lerobot(config, config.base)
        case ZeroBaseConfig():
            return BaseParts({"base_type": "zero", "base": {}, "n_obs_steps": 1})
        case _:
            raise UsageError(
                f"base={config.base.__struct_config__.tag} cannot be exported, since LeRobot cannot load it: "
                "base=diffusion, lerobot and zero can"
            )


def _diffusion(settings: DiffusionBaseConfig) -> BaseParts:
    agent = load_agent(Path(settings.path))
    spec = agent.spec
    padded = settings.pad_obs_to is not None
    sizes = {
        "step_dim": spec.diffusion_step_embed_dim,
        "down_dims": spec.unet_dims,
        "n_groups": spec.n_groups,
    }
    base = {
        "unet": sizes,
        "pred_horizon": spec.pred_horizon,
        "prediction_type": spec.prediction_type,
        "normalize": spec.normalize,
        "inference_steps": settings.inference_steps,
        "constants": {"at": BASE_POSE_AT, "values": BASE_POSE} if padded else None,
    }
    return BaseParts({"base_type": "diffusion", "base": base, "n_obs_steps": spec.obs_horizon}, agent)


def _lerobot(config: Config, settings: LeRobotBaseConfig) -> BaseParts:
    import draccus
    from lerobot.configs.policies import PreTrainedConfig

    from actor.policy.lerobot.files import image_cameras, observation_fields
    from actor.policy.lerobot.saved import load_policy, load_processors, read_config

    inner = read_config(settings, "cpu")
    policy, statistics = load_policy(inner, settings.path)
    cameras = image_cameras(inner, settings, config.task)
    width, height = config.task.camera_size
    observation_dim = dimensions_of(config.task).observation_dim
    base = {
        "config": draccus.encode(inner, PreTrainedConfig),
        "fields": _fields(observation_fields(inner, settings, config.task, observation_dim)),
        "instruction": settings.instruction,
        "images": {name: f"observation.images.{camera}" for name, camera in cameras.items()},
    }
    return BaseParts(
        {"base_type": "lerobot", "base": base, "n_obs_steps": policy.config.n_obs_steps},
        nn.ModuleDict({"policy": policy}),
        {
            f"observation.images.{camera}": {"type": "VISUAL", "shape": [3, height, width]}
            for camera in dict.fromkeys(cameras.values())
        },
        load_processors(inner, settings.path, "cpu", statistics),
    )


def _fields(fields: dict[str, Ranges]) -> dict[str, Any]:
    """One range without a list around it: plugins of earlier releases know no other."""
    return {name: ranges[0] if len(ranges) == 1 else ranges for name, ranges in fields.items()}


def _write_processors(folder: Path, base: BaseParts) -> None:
    """LeRobot's usual steps, which scale nothing here, and what it does before and after the base."""
    before = [
        RenameObservationsProcessorStep(rename_map={}),
        AddBatchDimensionProcessorStep(),
        DeviceProcessorStep(device="cpu"),
        NormalizerProcessorStep(features={}, norm_map={}),  # lerobot-train sets it
    ]
    after = [UnnormalizerProcessorStep(features={}, norm_map={}), DeviceProcessorStep(device="cpu")]
    for name, steps in (("preprocessor", before), ("postprocessor", after)):
        PolicyProcessorPipeline(steps=steps, name=f"policy_{name}").save_pretrained(folder)
    if base.processors is not None:
        for name, processor in zip(("preprocessor", "postprocessor"), base.processors, strict=True):
            processor.save_pretrained(folder, config_filename=f"base_{name}.json")
