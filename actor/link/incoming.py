"""Receives weights: as they are published, and on request if a publication was lost."""

import logging

from actor.link.connection import Connection
from protocol.arrays import weights_digest
from protocol.messages import Weights, WeightsRequest

log = logging.getLogger(__name__)


class IncomingWeights:
    """Hands out each version once, and never an older one after a newer one."""

    def __init__(self, connection: Connection, session: int, heartbeat_s: float) -> None:
        self._connection, self._session, self._heartbeat_s = connection, session, heartbeat_s
        self._newest_version: int | None = None
        self._lagging_since_s: float | None = None

    def take_newest(self, now_s: float) -> Weights | None:
        """Weights newer than any returned before, or None."""
        offers = [self._connection.offered, self._connection.receive_published()]
        self._connection.offered = None
        fresh = [weights for weights in offers if weights is not None and self._is_newer(weights.version)]
        for weights in sorted(fresh, key=lambda weights: weights.version, reverse=True):
            if weights_digest(weights.columns) == weights.digest:
                self._newest_version = weights.version
                return weights
            where = self._connection.where
            log.warning("ignored weights v%d from %s: the digest is wrong", weights.version, where)
        self._request_if_missed(now_s)
        return None

    def _is_newer(self, version: int) -> bool:
        return self._newest_version is None or version > self._newest_version

    def _request_if_missed(self, now_s: float) -> None:
        """Ask when there are none yet, or when the publication of newer ones seems lost."""
        session = self._connection.session
        lagging = self._newest_version is None or (
            session.progress is not None and self._is_newer(session.progress.version)
        )
        if not lagging or not session.connected:
            self._lagging_since_s = None
        elif self._lagging_since_s is None:
            self._lagging_since_s = now_s
        elif now_s - self._lagging_since_s > self._heartbeat_s:
            self._lagging_since_s = now_s
            self._connection.send(WeightsRequest(session=self._session))
