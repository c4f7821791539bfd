"""Which probability counts as success, by what is known of episodes that were held out."""

from dataclasses import dataclass

import numpy as np

from learner.replay.dataset.arrow import Array


@dataclass(frozen=True)
class Curve:
    """Precision and recall of each threshold, from the highest threshold down."""

    thresholds: Array
    precision: Array
    recall: Array

    @classmethod
    def of(cls, probability: Array, success: Array) -> "Curve":
        """Of M frames; each distinct probability is a threshold."""
        order = np.argsort(-probability, kind="stable")
        found, called = np.cumsum(success[order]), np.arange(1, len(order) + 1)
        last = np.r_[np.diff(probability[order]) != 0, True]  # equal ones are called together
        return cls(
            thresholds=probability[order][last],
            precision=(found / called)[last],
            recall=(found / max(1, success.sum()))[last],
        )

    def choose(self, precision: float) -> int:
        """The place of the lowest threshold that has this precision; if none has it, of the most precise
        one, and of several the one that finds most."""
        [enough] = (self.precision >= precision).nonzero()
        if len(enough):
            return int(enough[-1])
        return int(np.lexsort((self.recall, self.precision))[-1])


@dataclass(frozen=True)
class Episodes:
    """How often the threshold is right about whole episodes that were held out."""

    found: float
    """Share of the successful episodes of which a successful frame is called success."""
    fooled: float | None
    """Share of the other episodes of which a frame is called success; None: there are none."""

    @classmethod
    def of(cls, called: Array, success: Array, episode: Array) -> "Episodes":
        """Of M frames."""
        count = int(episode.max()) + 1

        def some(frames: Array) -> Array:
            return np.bincount(episode[frames], minlength=count) > 0

        succeeds = some(success)
        fails = ~succeeds
        found = float(some(called & success)[succeeds].mean())
        return cls(found, float(some(called)[fails].mean()) if fails.any() else None)
