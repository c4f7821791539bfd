"""A recorded episode, wherever it comes from."""

from dataclasses import dataclass

import numpy as np

from config.process import UsageError
from learner.replay.dataset.arrow import Array


class DemonstrationError(UsageError):
    """Demonstrations that cannot be used; the message says which and why."""


@dataclass(frozen=True)
class Demonstration:
    """One recorded episode of T actions."""

    observations: Array
    """f4 (T + 1, O)"""
    actions: Array
    """f4 (T, A), those to imitate."""
    success: Array
    """b1 (T,)"""
    executed: Array | None = None
    """f4 (T, A), where pushes disturbed the episode: the actions that were executed."""

    @property
    def taken(self) -> Array:
        """The actions (T, A) that led from one observation to the next."""
        return self.actions if self.executed is None else self.executed

    def cut_at_success(self) -> "Demonstration":
        """The episode as the task would have ended it: at its first successful frame."""
        if not self.success.any():
            return self
        frames = int(np.argmax(self.success)) + 1
        return Demonstration(
            self.observations[: frames + 1],
            self.actions[:frames],
            self.success[:frames],
            None if self.executed is None else self.executed[:frames],
        )
