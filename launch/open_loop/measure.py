"""How far plans are from the actions that were recorded: plain arithmetic."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]


@dataclass(frozen=True)
class Plan:
    """What a policy planned at one frame, and what was done.

    Attributes:
        episode, frame: where it was planned.
        predicted: (H, A)
        recorded: (T, A), the actions from that frame on; T <= H, less at an episode's end.
    """

    episode: int
    frame: int
    predicted: Array
    recorded: Array

    @property
    def error(self) -> Array:
        """(T, A)"""
        return self.predicted[: len(self.recorded)] - self.recorded


def figures(plans: Sequence[Plan]) -> dict[str, Any]:
    """Mean squared errors in all, of each action dimension and of each step of the plans, smoothness of both
    sides, and the largest error with its place."""
    errors = [plan.error for plan in plans]
    every = np.concatenate(errors)
    steps = max(map(len, errors))
    by_step = [np.concatenate([e[step : step + 1] for e in errors]) for step in range(steps)]
    return {
        "mse": _mean_square(every),
        "mse_by_dimension": [_mean_square(every[:, dim]) for dim in range(every.shape[1])],
        "mse_by_step": [_mean_square(each) for each in by_step],
        "smoothness_predicted": _roughness([plan.predicted[: len(plan.recorded)] for plan in plans]),
        "smoothness_recorded": _roughness([plan.recorded for plan in plans]),
        "largest_error": _largest(plans),
        "plans": len(plans),
        "frames": len(every),
    }


def _mean_square(errors: Array) -> float:
    return float(np.mean(np.square(errors, dtype=np.float64)))


def _roughness(chunks: Sequence[Array]) -> float | None:
    """Mean squared second difference of actions: 0 for a straight line. None: no chunk has three actions."""
    bends = [np.diff(chunk, n=2, axis=0) for chunk in chunks if len(chunk) > 2]
    return _mean_square(np.concatenate(bends)) if bends else None


def _largest(plans: Sequence[Plan]) -> dict[str, Any]:
    worst = max(plans, key=lambda plan: float(np.abs(plan.error).max()))
    step, dim = (int(i) for i in np.unravel_index(np.abs(worst.error).argmax(), worst.error.shape))
    return {
        "error": float(worst.error[step, dim]),
        "episode": worst.episode,
        "frame": worst.frame + step,
        "step": step,
        "dimension": dim,
    }
