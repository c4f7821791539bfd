"""Rollouts around another rollout: what they have in common."""

from actor.rollout import Rollout
from protocol.arrays import Columns


class RolloutAround:
    """As `rollout`; whoever inherits from it changes a part of that."""

    def __init__(self, rollout: Rollout) -> None:
        self._rollout, self.sub_envs = rollout, rollout.sub_envs

    @property
    def rows(self) -> int:
        """Closed decisions to take."""
        return self._rollout.rows

    @property
    def frames(self) -> int:
        """Simulated so far."""
        return self._rollout.frames

    @property
    def episodes(self) -> int:
        """Ended so far."""
        return self._rollout.episodes

    @property
    def waits(self) -> bool:
        """Whether the next frame is to be played with newer weights."""
        return self._rollout.waits

    @property
    def takes_weights(self) -> bool:
        """Whether newer weights may be adopted before the next frame."""
        return self._rollout.takes_weights

    def go_on(self) -> None:
        """No newer weights have come: play on with those that there are."""
        self._rollout.go_on()

    def step(self) -> None:
        """One frame in every sub-environment."""
        self._rollout.step()

    def take(self, enough: int | None = None) -> Columns:
        """The oldest closed decisions, see `Rollout.take`."""
        return self._rollout.take(enough)
