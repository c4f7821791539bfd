"""What critics learn from: the residuals that were executed."""

import numpy as np

from config.reach import Scale
from learner.replay.memory.rows import Flags, Floats
from protocol.arrays import Columns


def executed_residual(
    residual: Floats, action: Floats, plan: Floats, intervened: Flags, scale: Scale
) -> Floats:
    """The residual of each frame, (..., A), and in those where somebody intervened (...,) the one that leads
    from the plan to the executed action, however large and in all dimensions: what a decision was worth
    belongs to what was done."""
    return np.where(intervened[..., None], (action - plan) / np.asarray(scale, np.float32), residual)


def executed_in(columns: Columns, scale: Scale | None) -> Floats:
    """(D, k, A) of a message. `scale`: residual_scale; needed only with the column `intervention`."""
    if scale is None or "intervention" not in columns:
        return columns["residual"]
    return executed_residual(
        columns["residual"], columns["action"], columns["base_plan"], columns["intervention"], scale
    )
