"""The DDIM sampler's schedule."""

from typing import Any, cast

from diffusers.schedulers.scheduling_ddim import DDIMScheduler

TRAIN_STEPS = 100


def make_scheduler(prediction_type: str) -> DDIMScheduler:
    """The sampler of Policy Decorator: DDIM over the 100 cosine betas of training."""
    return DDIMScheduler(
        num_train_timesteps=TRAIN_STEPS,
        beta_schedule="squaredcos_cap_v2",
        clip_sample=True,
        prediction_type=cast(Any, prediction_type),
    )


def step_weights(scheduler: DDIMScheduler, step: int) -> tuple[float, float, float, float]:
    """Square roots of alpha and 1 - alpha of a sampler's step, then of the step after it.

    DDIM without noise (Song et al. 2021, eq. 12): sample = a * clean + b * noise, next sample =
    c * clean + d * noise.
    """
    following = step - scheduler.config["num_train_timesteps"] // scheduler.num_inference_steps
    now = scheduler.alphas_cumprod[step].item()
    then = (scheduler.final_alpha_cumprod if following < 0 else scheduler.alphas_cumprod[following]).item()
    return now**0.5, (1 - now) ** 0.5, then**0.5, (1 - then) ** 0.5
