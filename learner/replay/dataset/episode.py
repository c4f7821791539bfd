"""An episode: what the dataset stores whole or not at all."""

from dataclasses import dataclass, field

import numpy as np

from learner.replay.dataset.arrow import Array

type Lane = tuple[str, int, int]
"""Actor id, session, sub-environment: the episodes of a lane follow one another."""


@dataclass(frozen=True)
class Episode:
    """Reset to end in one sub-environment: T frames in R decisions of k = residual_every frames.

    The last decision may be shorter than k; its whole plan and residual are what the critic saw.
    """

    lane: Lane
    number: int
    """Counts up in the lane."""
    values: Array
    """f4 (T, O + 3 A + 2): observation, action, base action, residual, reward, success, side by side."""
    decision_start: Array
    """b1 (T,), the first frame of each decision."""
    weights_version: Array
    """i8 (T,)"""
    positions: Array
    """i8 (R,), each decision's position in the stream of rows that the learner received."""
    terminated: bool
    truncated: bool
    final_known: bool
    """Whether the last observation arrived; it did not if the actor left in the middle of the episode."""
    final_observation: Array
    """f4 (O,), zeros if unknown."""
    final_base_plan: Array
    """f4 (k, A), zeros if terminated or unknown."""
    last_base_plan: Array
    """f4 (k, A)"""
    last_residual: Array
    """f4 (k, A)"""
    optional: dict[str, Array] = field(default_factory=dict[str, Array])
    """Optional column -> (T, ...), see `protocol.experience`; a decision's value at each of its frames."""
    features: Array = field(default_factory=lambda: np.zeros((0, 0), np.float16))
    """f2 (R, E), the base's at each decision; E is 0 where none came."""
    final_features: Array = field(default_factory=lambda: np.zeros(0, np.float16))
    """f2 (E,), zeros if terminated or unknown."""
    images: dict[str, Array] = field(default_factory=dict[str, Array])
    """Camera -> (T, H, W, C), see `protocol.pictures`, like the observations."""
    final_images: dict[str, Array] = field(default_factory=dict[str, Array])
    """Camera -> (H, W, C), zeros if unknown."""

    def __len__(self) -> int:
        return len(self.values)

    @property
    def success(self) -> bool:
        """Whether it succeeded in its last frame."""
        return bool(self.values[-1, -1])

    @property
    def identity(self) -> tuple[str, int, int, int]:
        """Actor id, session, sub-environment, number: the same whenever the episode is sent again."""
        return (*self.lane, self.number)
