"""Offers the newest residual and base, and how to act with them, to every actor."""

from collections.abc import Mapping

import numpy as np
from safetensors.torch import save
from torch import Tensor

from actor.policy.finite import non_finite_value
from learner.algorithms.finite import NonFiniteError
from learner.intake.intake import Intake
from learner.replay.journal.journal import Journal
from protocol.arrays import weights_digest
from protocol.messages import BaseAnnounced, Behaviour, Weights
from protocol.session.pieces import Blob

# Versions whose time of publication is kept.
_REMEMBERED = 1000


class Broadcast:
    """Counts versions.

    Offers, never pushes: a slow actor skips versions instead of queueing stale ones.

    `journal`: remembers the versions, so that those of a restarted learner are newer; None: begins at 1."""

    def __init__(self, intake: Intake, journal: Journal | None = None) -> None:
        self._intake = intake
        self._journal = journal
        self._published_s: dict[int, float] = {}  # the newest versions
        self.version = 0 if journal is None else journal.version
        self._base: BaseAnnounced | None = None

    def age_s(self, versions: np.ndarray, now_s: float) -> float:
        """Mean time since `versions` were published; NaN if this process published none of them lately."""
        known = [self._published_s[version] for version in versions.tolist() if version in self._published_s]
        return now_s - sum(known) / len(known) if known else float("nan")

    def offer_base(self, weights: Mapping[str, Tensor]) -> None:
        """Make this the base of the next publication.
        Raises NonFiniteError: a weight is not finite; nothing is sent."""
        if (found := non_finite_value(dict(weights))) is not None:
            raise NonFiniteError(f"no base is published: {found}; lower algo.lr, and start again")
        blob = Blob(save({name: value.detach().cpu().contiguous() for name, value in weights.items()}))
        self._intake.offer_base(blob)
        self._base = blob.announced(self.version + 1)

    def publish(
        self, weights: Mapping[str, Tensor], behaviour: Behaviour, *, now_s: float, final: bool = False
    ) -> Weights:
        """Send what an algorithm publishes of the residual. Returns what is sent; its arrays never change.
        Raises NonFiniteError: a weight is not finite; nothing is sent."""
        if (found := non_finite_value(dict(weights))) is not None:
            raise NonFiniteError(f"nothing is published: {found}; lower the learning rate, and start again")
        self._published_s[self.version + 1] = now_s
        if len(self._published_s) > _REMEMBERED:
            del self._published_s[next(iter(self._published_s))]
        self.version += 1
        if self._journal is not None:
            self._journal.use_version(self.version)
        # `Intake.publish` copies: the learner goes on training while the message waits.
        columns = {name: value.detach().cpu().numpy() for name, value in weights.items()}
        return self._intake.publish(
            Weights(
                version=self.version,
                digest=weights_digest(columns),
                behaviour=behaviour,
                final=final,
                columns=columns,
                base=self._base,
            )
        )
