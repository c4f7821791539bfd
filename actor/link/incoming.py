"""Receives weights: as they are published, and on request if a publication was lost."""

import logging

import msgspec

from actor.link.connection import Connection
from actor.link.incoming_base import IncomingBase
from protocol.arrays import weights_digest
from protocol.messages import Weights, WeightsRequest

log = logging.getLogger(__name__)


class IncomingWeights:
    """Hands out each version once, and never an older one after a newer one; weights for a base that has not
    arrived wait for it."""

    def __init__(self, connection: Connection, base: IncomingBase, session: int, heartbeat_s: float) -> None:
        self._connection, self._base = connection, base
        self._session, self._heartbeat_s = session, heartbeat_s
        self._newest_version: int | None = None
        self._lagging_since_s: float | None = None
        self._waiting: Weights | None = None
        self._base_digest = self._handed_digest = ""

    def take_newest(self, now_s: float, *, with_base: bool) -> Weights | None:
        """Weights newer than any returned before, or None.
        `with_base`: also those for another base than the weights before; it is then `IncomingBase.take`n."""
        published, pieces = self._connection.receive_published()
        offers = [self._connection.offered, published]
        self._connection.offered = None
        fresh = [weights for weights in offers if weights is not None and self._is_newer(weights.version)]
        for weights in sorted(fresh, key=lambda weights: weights.version, reverse=True):
            if weights_digest(weights.columns) == weights.digest:
                self._newest_version, self._waiting = weights.version, weights
                break
            where = self._connection.where
            log.warning("ignored weights v%d from %s: the digest is wrong", weights.version, where)
        else:
            self._request_if_missed(now_s)
        self._fetch_base(pieces, now_s)
        return self._ready(with_base)

    def confirm_base(self) -> None:
        """The base of the weights that were returned last is in use: others for it need no base."""
        self._base_digest = self._handed_digest

    def _fetch_base(self, pieces: list[list[bytes]], now_s: float) -> None:
        wanted = self._waiting and self._waiting.base
        if wanted is not None and wanted.digest != self._base_digest:
            self._base.announce(wanted)
        self._base.receive(pieces, now_s)

    def _ready(self, with_base: bool) -> Weights | None:
        """The weights that wait, once what they are for is there."""
        waiting, whole = self._waiting, self._base.complete
        if waiting is None:
            return None
        if waiting.base is None or waiting.base.digest == self._base_digest:
            self._waiting = None
            return waiting
        if whole is None or not with_base:
            return None
        self._handed_digest = whole.digest
        if whole.digest == waiting.base.digest:
            self._waiting = None
            return waiting
        # A base that was overtaken on its way is still newer than the one in use.
        return msgspec.structs.replace(waiting, version=whole.version, final=False, base=whole)

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
