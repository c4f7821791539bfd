"""Receives a trained base in pieces."""

import logging

from actor.link.connection import Connection
from protocol.arrays import ProtocolError
from protocol.messages import BaseAnnounced
from protocol.session.pieces import Complete, PieceFetch

log = logging.getLogger(__name__)


class IncomingBase:
    """Asks for pieces of the newest base that was announced, and hands it out once it is whole.

    Args:
        most_bytes: of its content; a larger base is refused, and said once.
        patience_s: see `PieceFetch`.
    """

    def __init__(self, connection: Connection, most_bytes: int, patience_s: float) -> None:
        self._connection, self._fetch = connection, PieceFetch(most_bytes, patience_s)
        self._refused = ""
        self._complete: Complete | None = None

    def announce(self, base: BaseAnnounced) -> None:
        """The newest base is this."""
        try:
            self._fetch.announce(base)
        except ProtocolError as error:
            if self._refused != base.digest:
                log.warning("ignored a base from %s: %s", self._connection.where, error)
            self._refused = base.digest

    def receive(self, pieces: list[list[bytes]], now_s: float) -> None:
        """Take in what arrived, and ask for more."""
        for frames in pieces:
            if len(frames) == 2:
                self._fetch.receive(frames[0], frames[1], now_s)
        if self._complete is None:
            try:
                self._complete = self._fetch.take()
            except ProtocolError as error:
                log.warning("ignored a base from %s: %s", self._connection.where, error)
        # Until it is taken nothing more is fetched: one content is in memory, whole or in part.
        if self._complete is None:
            self._connection.subscribe(*self._fetch.due(now_s))

    @property
    def complete(self) -> BaseAnnounced | None:
        """The base that is whole and was not taken."""
        return None if self._complete is None else self._complete.base

    def take(self) -> bytearray:
        """The content of `complete`, once."""
        assert self._complete is not None
        content, self._complete = self._complete.content, None
        return content
