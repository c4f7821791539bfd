"""Which of the episodes that end become part of the dataset."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from learner.replay.dataset.episode import Episode


class Played(NamedTuple):
    """Whole episodes since the run began, whether the dataset has them or not."""

    episodes: int = 0
    successes: int = 0


@dataclass(frozen=True)
class CollectionLimits:
    """What a run collects; None: no limit. The default is everything."""

    episodes: int | None = None
    """Of them, the first so many that end."""
    successes: int | None = None
    """All until so many have succeeded."""
    successes_alone: bool = False
    """Leave out those that failed."""
    whole_alone: bool = False
    """Leave out those whose actor left in the middle; they never count."""


class Keep:
    """Chooses; the thread that writes the dataset calls `choose`, any may look."""

    def __init__(self, limits: CollectionLimits) -> None:
        self._limits = limits
        self.played = Played()

    @property
    def full(self) -> bool:
        """Whether no further episode is wanted."""
        limits = zip(self.played, (self._limits.episodes, self._limits.successes), strict=True)
        return any(limit is not None and count >= limit for count, limit in limits)

    def choose(self, ended: Sequence[Episode]) -> list[Episode]:
        """Those of `ended`, in order, that the dataset gets."""
        return [episode for episode in ended if self._counts(episode)]

    def _counts(self, episode: Episode) -> bool:
        if self.full or (self._limits.whole_alone and not episode.final_known):
            return False
        if episode.final_known:
            self.played = Played(self.played.episodes + 1, self.played.successes + episode.success)
        return episode.success or not self._limits.successes_alone
