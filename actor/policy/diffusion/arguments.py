"""`args.json` of a diffusion base, read and checked."""

from pathlib import Path
from typing import Annotated, Any

import msgspec

from actor.policy import published
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
    """Raises CheckpointError: see `published.read_arguments`."""
    return published.read_arguments(path, "diffusion", Arguments, IMPLEMENTED)
