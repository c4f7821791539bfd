"""Notices that another rank has ended, or hangs, whatever the collectives of torch are waiting for.

Each rank has a connection to rank 0, and both send signs of life. A closed connection is an end, silence a
hang.
"""

import contextlib
import hmac
import json
import os
import socket
import struct
import sys
import threading
import time
from collections.abc import Callable, Mapping
from multiprocessing.connection import Connection, wait
from typing import NamedTuple

from config.process import DONE, FAILED, FailedError

BEAT_S = 1.0
# All three together are below 30 s.
SILENT_S = 15.0
PATIENCE_S = 8.0  # for this process to end by itself
ARRIVAL_S = 60.0  # for all ranks to come to rank 0
_LONGEST = 4096  # bytes of a message
_END, _LOST = b"end", b"lost "


class RankError(FailedError):
    """Another process of this learner has ended; the message names it."""


class Peer(NamedTuple):
    """Another rank."""

    rank: int
    process: int
    host: str

    def __str__(self) -> str:
        return f"rank {self.rank} (process {self.process} on {self.host})"

    @classmethod
    def here(cls, rank: int) -> "Peer":
        return cls(rank, os.getpid(), socket.gethostname())


class Entrance:
    """Where the other ranks connect to rank 0."""

    def __init__(self, host: str) -> None:
        self._token, self._host = os.urandom(16).hex(), host
        try:
            self._server = socket.create_server((host, 0))
        except OSError:  # behind a router this host has another address
            self._server = socket.create_server(("", 0))

    def address(self) -> bytes:
        """For `connect`."""
        port = self._server.getsockname()[1]
        return json.dumps([self._host, port, self._token, *Peer.here(0)]).encode()

    def accept(self, count: int) -> dict[Peer, Connection]:
        """Wait for all others, and close. Raises RankError: one did not come."""
        found: dict[Peer, Connection] = {}
        self._server.settimeout(ARRIVAL_S)
        with self._server:
            while len(found) < count:
                try:
                    accepted = self._server.accept()[0]
                except TimeoutError:
                    raise RankError(
                        f"{len(found)} of {count} other processes of this learner reached {self._host} "
                        f"within {ARRIVAL_S:.0f} s: can their hosts connect to it on any port?"
                    ) from None
                accepted.setblocking(True)
                found |= self._admitted(accepted)
        return found

    def _admitted(self, accepted: socket.socket) -> dict[Peer, Connection]:
        """Who knows the token. A stranger's connection is closed; silence is not waited for."""
        limit = struct.pack("ll", int(SILENT_S), int(SILENT_S % 1 * 1e6))  # a timeval
        accepted.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, limit)
        connection = Connection(accepted.detach())
        with contextlib.suppress(OSError, EOFError, ValueError, TypeError, RecursionError):
            token, *peer = json.loads(connection.recv_bytes(_LONGEST))
            if hmac.compare_digest(str(token), self._token):
                return {Peer(*peer): connection}
        connection.close()
        return {}


def connect(address: bytes, rank: int) -> dict[Peer, Connection]:
    """A connection to rank 0."""
    host, port, token, *first = json.loads(address)
    with socket.create_connection((host, port), timeout=60) as made:
        made.setblocking(True)
        connection = Connection(made.detach())
    connection.send_bytes(json.dumps([token, *Peer.here(rank)]).encode())
    return {Peer(*first): connection}


class Watch:
    """A thread that knows who is left, of the connections that it is given.

    Rank 0 gets a RankError from `raise_if_lost`, and is ended if it does not ask in time: a collective may be
    waiting for the rank that has ended. Other ranks have nothing to save: they end at once.

    Args:
        fate: says how a peer has ended, if that is known here; whatever is left of it is ended too.
    """

    def __init__(
        self, peers: Mapping[Peer, Connection], rank: int, fate: Callable[[Peer], str] = lambda _: "has ended"
    ) -> None:
        self._peers, self._rank, self._fate = dict(peers), rank, fate
        self._heard_s = dict.fromkeys(self._peers, time.monotonic())
        self._lost: RankError | None = None
        self._noticed, self._known, self._over = threading.Event(), threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, name="ranks", daemon=True)
        self._thread.start()

    def raise_if_lost(self, patience_s: float = 0.0) -> None:
        """Raise RankError if a peer has ended, or ends within `patience_s`."""
        if self._known.wait(patience_s) if patience_s else self._known.is_set():
            self._noticed.set()
            assert self._lost is not None
            raise self._lost

    def end(self) -> None:
        """Rank 0: tell all others to end, and watch no longer."""
        self._over.set()
        self._thread.join()
        self._send(_END)
        for connection in self._peers.values():
            connection.close()

    def _run(self) -> None:
        beaten_s = 0.0
        while not self._over.is_set() and self._lost is None:
            ready = wait(list(self._peers.values()), timeout=BEAT_S / 4)
            now_s = time.monotonic()
            for peer, connection in self._peers.items():
                if connection in ready:
                    self._heard_s[peer] = now_s
                    self._hear(peer, connection)
                elif now_s - self._heard_s[peer] > SILENT_S:
                    self._lose(peer, f"gave no sign of life for {SILENT_S:.0f} s")
            if now_s - beaten_s >= BEAT_S:
                beaten_s = now_s
                self._send(b"")

    def _hear(self, peer: Peer, connection: Connection) -> None:
        try:
            message = connection.recv_bytes(_LONGEST)
        except (EOFError, OSError):
            self._lose(peer, "")
            return
        if message == _END:
            os._exit(DONE)
        if message.startswith(_LOST):  # rank 0 has said who
            os._exit(FAILED)

    def _lose(self, peer: Peer, why: str) -> None:
        if self._lost is not None or self._over.is_set():
            return
        fate = self._fate(peer)
        self._lost = RankError(
            f"{peer} of the learner {why or fate}: all its processes end; the same command goes on from the "
            "last checkpoint"
        )
        if self._rank == 0:
            self._send(_LOST)
            self._known.set()
            if self._noticed.wait(PATIENCE_S):
                return
        # The others say it once together.
        if self._rank <= 1:
            with contextlib.suppress(OSError):
                sys.stderr.write(f"error: {self._lost}\n")
                sys.stderr.flush()
        os._exit(FAILED)

    def _send(self, message: bytes) -> None:
        for connection in self._peers.values():
            # Who has ended is heard of.
            with contextlib.suppress(OSError):
                connection.send_bytes(message)
