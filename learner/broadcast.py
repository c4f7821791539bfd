"""Offers the newest residual, and how to act with it, to every actor."""

from __future__ import annotations

from actor.policy.residual import ResidualActor
from learner.intake import Intake
from learner.replay.journal import Journal
from protocol.arrays import weights_digest
from protocol.messages import Behaviour, Weights


class Broadcast:
    """Counts versions; publishes at most every `every_s` seconds.

    Offers, never pushes: a slow actor skips versions instead of queueing stale ones.

    Args:
        journal: remembers the versions, so that those of a restarted learner are newer; None: begins at 1.
    """

    def __init__(self, intake: Intake, every_s: float, journal: Journal | None = None) -> None:
        self._intake = intake
        self._journal = journal
        self._every_s = every_s
        self._last_s = -every_s
        self.version = 0 if journal is None else journal.version

    def due(self, now_s: float) -> bool:
        return now_s - self._last_s >= self._every_s

    def publish(
        self, actor: ResidualActor, behaviour: Behaviour, *, now_s: float, final: bool = False
    ) -> None:
        """Send the residual alone, never the frozen base."""
        self._last_s = now_s
        self.version += 1
        if self._journal is not None:
            self._journal.use_version(self.version)
        # `Intake.publish` copies: the learner goes on training while the message waits.
        columns = {name: value.detach().cpu().numpy() for name, value in actor.state_dict().items()}
        self._intake.publish(
            Weights(
                version=self.version,
                digest=weights_digest(columns),
                behaviour=behaviour,
                final=final,
                columns=columns,
            )
        )
