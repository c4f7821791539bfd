"""The DDIM sampler without noise (Song et al. 2021, eq. 12) over the cosine betas of training.

The same numbers as diffusers' DDIMScheduler, to the bit. To import diffusers takes as long as to import
torch, in every process of a run.
"""

import math
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor

PredictionType = Literal["epsilon", "sample", "v_prediction"]
"""What a network predicts: the noise, the clean sample, or the velocity (Salimans and Ho 2022, app. D)."""

TRAIN_STEPS = 100
_LARGEST_BETA = 0.999


class DDIM:
    """The sampler of Policy Decorator.

    Args:
        inference_steps: of the 100 steps of training, evenly spaced.
    """

    def __init__(self, prediction_type: PredictionType, inference_steps: int) -> None:
        self._predicts: PredictionType = prediction_type
        self._stride = TRAIN_STEPS // inference_steps
        self._alphas = torch.cumprod(1.0 - _cosine_betas(), dim=0)
        self.steps = [self._stride * i for i in reversed(range(inference_steps))]

    def next_sample(self, prediction: Tensor, step: int, sample: Tensor) -> Tensor:
        """The sample of the step after `step`."""
        now, then = self._alphas_at(step)
        match self._predicts:
            case "epsilon":
                clean, noise = (sample - (1 - now) ** 0.5 * prediction) / now**0.5, prediction
            case "sample":
                clean, noise = prediction, (sample - now**0.5 * prediction) / (1 - now) ** 0.5
            case "v_prediction":
                clean = now**0.5 * sample - (1 - now) ** 0.5 * prediction
                noise = now**0.5 * prediction + (1 - now) ** 0.5 * sample
        return then**0.5 * clean.clamp(-1, 1) + (1 - then) ** 0.5 * noise

    def step_weights(self, step: int) -> tuple[float, float, float, float]:
        """Square roots of alpha and 1 - alpha of a sampler's step, then of the step after it:
        sample = a * clean + b * noise, next sample = c * clean + d * noise."""
        now, then = (alpha.item() for alpha in self._alphas_at(step))
        return now**0.5, (1 - now) ** 0.5, then**0.5, (1 - then) ** 0.5

    def _alphas_at(self, step: int) -> tuple[Tensor, Tensor]:
        following = step - self._stride
        return self._alphas[step], torch.tensor(1.0) if following < 0 else self._alphas[following]


def _cosine_betas() -> Tensor:
    """Betas of Nichol and Dhariwal 2021, eq. 17."""
    levels = [math.cos((i / TRAIN_STEPS + 0.008) / 1.008 * math.pi / 2) ** 2 for i in range(TRAIN_STEPS + 1)]
    betas = [min(1 - after / before, _LARGEST_BETA) for before, after in pairwise(levels)]
    return torch.tensor(betas, dtype=torch.float32)
