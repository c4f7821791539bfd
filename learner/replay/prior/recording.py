"""An episode as its file has it, before anything is decided about it."""

from dataclasses import dataclass

from learner.replay.dataset.arrow import Array


@dataclass(frozen=True)
class Recording:
    """An episode of T actions; None: the file does not have it."""

    observations: Array
    """f4 (T + 1, O)"""
    actions: Array
    """f4 (T, A)"""
    success: Array | None
    """(T,) or (T, 1), as the reward"""
    reward: Array | None
    executed: Array | None = None
    base_actions: Array | None = None
    intervention: Array | None = None
    """(T, 1), where somebody acted instead of the policy"""
