"""Offers the newest residual, and how to act with it, to every actor."""

from __future__ import annotations

from actor.policy.residual import ResidualActor
from learner.intake import Intake
from protocol.arrays import weights_digest
from protocol.messages import Behaviour, Weights


class Broadcast:
    """Counts versions; publishes at most every `every_s` seconds.

    Offers, never pushes: a slow actor skips versions instead of queueing stale ones.
    """

    def __init__(self, intake: Intake, every_s: float) -> None:
        self._intake = intake
        self._every_s = every_s
        self._last_s = -every_s
        self.version = 0

    def due(self, now_s: float) -> bool:
        return now_s - self._last_s >= self._every_s

    def publish(
        self, actor: ResidualActor, behaviour: Behaviour, *, now_s: float, final: bool = False
    ) -> None:
        """Send the residual alone, never the frozen base."""
        self._last_s = now_s
        self.version += 1
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
