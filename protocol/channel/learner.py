"""The learner's end: ROUTER and XPUB. Only this folder knows ZeroMQ.

DEALER to ROUTER on the experience port, XPUB to SUB on the weights port; clients connect, never bind.
Every option is set before its socket binds or connects: later has no effect.
"""

import contextlib
import math
import os
import time
from pathlib import Path
from typing import NamedTuple

import zmq

from protocol.arrays import Buffer, Limits
from protocol.channel.access import AccessControl, plain_address
from protocol.channel.addresses import ChannelError
from protocol.channel.sockets import (
    LINGER_MS,
    WAITING_WEIGHTS,
    Endpoint,
    bind,
    require_protection,
    set_common_options,
)

# With which ZeroMQ passes on that a client subscribes to what follows.
_SUBSCRIBED = b"\1"
# A plain number: an enumeration costs more than the call that uses it.
_NOBLOCK = int(zmq.NOBLOCK)
# ZeroMQ packs frames up to this size next to each other, unaligned; longer ones have memory of their own.
_SHARED_BYTES = 8192
# How long a port that was just released may stay in use.
_REBIND_TIMEOUT_S = 5.0


class Arrival(NamedTuple):
    """One message at the learner."""

    identity: bytes
    address: str
    frames: list[Buffer]


class LearnerChannel:
    """ROUTER and XPUB. All methods but `wake` belong to one thread at a time.

    Raises:
        ChannelError: a port in use, a host that is not this machine's, or no protection beyond loopback.
        KeyFileError: a key file that cannot be used.
    """

    def __init__(self, endpoint: Endpoint, limits: Limits) -> None:
        require_protection(endpoint)
        self._endpoint, self._limits = endpoint, limits
        self._context = zmq.Context()
        self._wake_read, self._wake_write = os.pipe()
        for end in (self._wake_read, self._wake_write):
            os.set_blocking(end, False)
        try:
            keys_dir = None if endpoint.keys_dir is None else Path(endpoint.keys_dir)
            self._access = AccessControl(self._context, keys_dir)
            self._open()
        except Exception:
            self.close()
            raise

    @property
    def turned_away(self) -> int:
        """Connections without a key, or with one that is not on the allow-list."""
        return self._access.turned_away

    def wait(self, timeout_s: float) -> None:
        """Return at a message, a wake-up or the timeout; admits clients meanwhile."""
        events = dict(self._poller.poll(max(0, math.ceil(timeout_s * 1000))))
        self._access.serve(events)
        if self._wake_read in events:
            os.read(self._wake_read, 4096)

    def wake(self) -> None:
        """End a `wait`, from any thread."""
        with contextlib.suppress(BlockingIOError):  # full of wake-ups already
            os.write(self._wake_write, b"w")

    def refresh_allowed(self) -> None:
        """Read the allow-list again if it changed. A revoked key is excluded at once: both ports are bound
        again, and every client has to reconnect."""
        if self._access.refresh_allowed():
            self._open()

    def receive(self, most: int) -> list[Arrival]:
        """Messages that arrived, at most `most`. Frames are read-only, and arrays over them are aligned."""
        arrivals: list[Arrival] = []
        while len(arrivals) < most and (arrival := self._receive_one()) is not None:
            arrivals.append(arrival)
        return arrivals

    def _receive_one(self) -> Arrival | None:
        try:
            first = self._router.recv(_NOBLOCK, copy=False)
        except zmq.Again:
            return None
        frames: list[Buffer] = []
        frame = first
        while frame.more:
            frame = self._router.recv(_NOBLOCK, copy=False)
            frames.append(frame.bytes if len(frame) <= _SHARED_BYTES else frame.buffer.toreadonly())
        return Arrival(first.bytes, plain_address(str(first.get("Peer-Address") or "")), frames)

    def send(self, identity: bytes, frames: list[Buffer]) -> None:
        """To one client; dropped if it is gone or does not read."""
        with contextlib.suppress(zmq.Again):  # whatever the learner says is said again
            self._router.send_multipart([identity, *frames], zmq.NOBLOCK, copy=False)

    def receive_subscriptions(self, most: int) -> list[bytes]:
        """Topics that clients subscribed to since the last call, at most `most`: also those that another has
        subscribed to."""
        topics: list[bytes] = []
        for _ in range(most):
            try:
                word = self._publisher.recv(_NOBLOCK)
            except zmq.Again:
                break
            if word.startswith(_SUBSCRIBED):
                topics.append(word[1:])
        return topics

    def publish(self, frames: list[Buffer]) -> None:
        """To every client that subscribed to the first frame or to what it begins with."""
        self._publisher.send_multipart(frames, zmq.NOBLOCK, copy=False)

    def close(self) -> None:
        """Close all sockets; waits LINGER_MS for what is still to be delivered."""
        self._context.destroy(linger=LINGER_MS)
        os.close(self._wake_read)
        os.close(self._wake_write)

    def _open(self) -> None:
        """Bind both ports; connections from before are closed."""
        rebinding = hasattr(self, "_publisher")
        if rebinding:
            self._access.unwatch(self._router)
            for before in (self._router, self._publisher):
                before.close(linger=0)
        deadline_s = time.monotonic() + (_REBIND_TIMEOUT_S if rebinding else 0.0)
        self._router = self._bind_until(deadline_s, zmq.ROUTER, "experience_port")
        watched = self._access.watch(self._router, self._endpoint.experience_port)
        self._publisher = self._bind_until(deadline_s, zmq.XPUB, "weights_port")
        self._poller = zmq.Poller()
        for source in (self._router, self._publisher, *watched, self._wake_read):
            self._poller.register(source, zmq.POLLIN)

    def _bind_until(self, deadline_s: float, kind: int, key: str) -> zmq.Socket[bytes]:
        """ZeroMQ releases a port in the background: try until it has."""
        while True:
            try:
                return self._bind(kind, key)
            except ChannelError:
                if time.monotonic() >= deadline_s:
                    raise
                time.sleep(0.01)

    def _bind(self, kind: int, key: str) -> zmq.Socket[bytes]:
        socket = self._context.socket(kind)
        set_common_options(socket, self._endpoint, self._limits.max_message_bytes)
        if kind == zmq.XPUB:
            socket.setsockopt(zmq.SNDHWM, WAITING_WEIGHTS)
            # Else a topic that another client has subscribed to is not passed on.
            socket.setsockopt(zmq.XPUB_VERBOSE, 1)
        self._access.protect(socket)
        bind(socket, self._endpoint, key)
        return socket
