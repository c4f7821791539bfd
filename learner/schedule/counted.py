"""What most schedules have in common: they count, and end after `learner.total_frames`."""

from typing import Any

import msgspec

from learner.algorithms.contract import Goal
from protocol.arrays import Columns
from protocol.messages import BASE_ALONE, Behaviour


class Counted:
    """What has been received, and how many updates were made. See `Schedule`."""

    def __init__(self, total_frames: int) -> None:
        self._total_frames = total_frames
        self.decisions = self.frames = self.updates = 0

    def resume(self, decisions: int, frames: int) -> None:
        """Continue after what an earlier process received, for which no update is due."""
        self.decisions, self.frames, self.updates = decisions, frames, 0

    def count(self, actor_id: str, columns: Columns) -> None:
        """Count one message of experience."""
        self.decisions += len(columns["frames"])
        self.frames += int(columns["frames"].sum())

    @property
    def finished(self) -> str | None:
        """Why no more data is wanted, or None."""
        used = self.frames >= self._total_frames
        return f"learner.total_frames={self._total_frames} is used" if used else None

    @property
    def goal(self) -> Goal:
        return Goal(self.frames, self._total_frames, "frames")

    def behaviour(self) -> Behaviour:
        """How actors act from now on."""
        return msgspec.structs.replace(BASE_ALONE, decisions=self.decisions)

    def state(self) -> dict[str, Any]:
        """For `load_state` of another process."""
        return {"updates": self.updates}

    def load_state(self, state: dict[str, Any]) -> None:
        """Continue from what `state` returned: updates for what came later are due."""
        self.updates = state["updates"]
