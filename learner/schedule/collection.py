"""When a collection of episodes is complete."""

from typing import Any

import msgspec

from config.collect import CollectConfig
from learner.algorithms.contract import Goal
from learner.replay.dataset.keep import CollectionLimits, Keep
from protocol.arrays import Columns
from protocol.messages import BASE_ALONE, Behaviour


def limits_of(algo: CollectConfig) -> CollectionLimits:
    """The episodes that the dataset gets."""
    return CollectionLimits(
        episodes=algo.episodes,
        successes=algo.successes,
        successes_alone=algo.keep == "successes",
        whole_alone=True,
    )


class Collection:
    """Ends once `keep` wants no further episode. It counts what the dataset's thread has seen, which is exact
    after any kill: its count is committed together with the episodes."""

    updates_due, takes_data, waiting_for = 0, True, ""

    def __init__(self, algo: CollectConfig, keep: Keep) -> None:
        self._algo, self._keep = algo, keep
        self.decisions = self.updates = 0

    def resume(self, decisions: int, frames: int) -> None:
        self.decisions = decisions

    def count(self, actor_id: str, columns: Columns) -> None:
        self.decisions += len(columns["frames"])

    @property
    def finished(self) -> str | None:
        return f"{self._keep.played.episodes} episodes were played" if self._keep.full else None

    @property
    def goal(self) -> Goal:
        played = self._keep.played
        if self._algo.successes is not None:
            return Goal(played.successes, self._algo.successes, "successes")
        return Goal(played.episodes, self._algo.episodes or 0, "episodes")

    def behaviour(self) -> Behaviour:
        """Actors of such a run do not explore, whatever this says."""
        return msgspec.structs.replace(BASE_ALONE, decisions=self.decisions)

    def figures(self) -> dict[str, float]:
        return {"episodes_played": self._keep.played.episodes, "successes": self._keep.played.successes}

    def state(self) -> dict[str, Any]:
        return {}

    def load_state(self, state: dict[str, Any]) -> None:
        """What it counts is in the dataset."""
