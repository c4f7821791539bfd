"""`args.json` of a diffusion base, read and checked."""

import json
from pathlib import Path
from typing import Annotated, Any

import msgspec

from actor.policy.contract import CheckpointError
from actor.policy.diffusion.ddim import TRAIN_STEPS, PredictionType

Size = Annotated[int, msgspec.Meta(ge=1, le=4096)]

# Keys that change a policy and that published files do not have, with the values that this code implements.
# DDIM samples what was trained for DDPM.
IMPLEMENTED: dict[str, tuple[Any, ...]] = {
    "beta_schedule": ("squaredcos_cap_v2",),
    "clip_sample": (True,),
    "clip_sample_range": (1,),
    "noise_scheduler_type": ("DDPM", "DDIM"),
    "num_diffusion_iters": (TRAIN_STEPS,),
    "num_train_timesteps": (TRAIN_STEPS,),
    "obs_mode": ("state",),
    "rescale_betas_zero_snr": (False,),
    "thresholding": (False,),
}


class Arguments(msgspec.Struct, frozen=True):
    """The keys of args.json that say what the network is. Others say how it was trained."""

    control_mode: str
    obs_horizon: Size
    pred_horizon: Size
    diffusion_step_embed_dim: Size
    unet_dims: Annotated[tuple[Size, ...], msgspec.Meta(min_length=1, max_length=8)]
    n_groups: Size
    env_id: str | None = None
    prediction_type: PredictionType = "epsilon"
    normalize: bool = False
    obs_dim: Size | None = None
    act_dim: Size | None = None


def read_arguments(path: Path) -> Arguments:
    """Raises CheckpointError: no such file, not JSON, or a value that cannot be used; names the key."""
    found = _parse(path)
    try:
        # Not strict: numbers may be strings, as command lines leave them.
        arguments = msgspec.convert(found, Arguments, strict=False)
    except msgspec.ValidationError as error:
        raise CheckpointError(f"{path}: {error}: give what the base was trained with") from error
    for key, values in IMPLEMENTED.items():
        if key in found and found[key] not in values:
            known = " or ".join(map(json.dumps, values))
            raise CheckpointError(
                f"{path}: {key}={json.dumps(found[key])} is not implemented, only {known}: choose another "
                "base"
            )
    return arguments


def _parse(path: Path) -> Any:
    try:
        # Editors on Windows put a mark before the text.
        return json.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        raise CheckpointError(
            f"no base checkpoint at {path.parent}: {path.name} is missing. "
            "base.path must be a folder with args.json and checkpoints/best.pt"
        ) from None
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise CheckpointError(
            f"{path} is not JSON: {error}: copy it again from where the base was trained"
        ) from error
