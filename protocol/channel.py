"""Sockets and their security. The only file that knows ZeroMQ.

DEALER to ROUTER on the experience port, PUB to SUB on the weights port; clients connect, never bind.
Every option is set before its socket binds or connects: later has no effect.
"""

from __future__ import annotations

import contextlib
import errno
import ipaddress
import logging
import math
import os
import socket as sockets
import time
from pathlib import Path
from typing import NamedTuple

import msgspec
import zmq
from zmq.utils import z85
from zmq.utils.monitor import parse_monitor_message

from protocol.arrays import Buffer, Limits
from protocol.keys import (
    KeyFileError,
    KeyPair,
    allowed_stamp,
    find_client_secret,
    read_allowed,
    read_pair,
    read_public,
)

log = logging.getLogger(__name__)

# How long a closing process may still try to deliver.
LINGER_MS = 500
# Publications that may wait in a socket: slow subscribers skip versions instead of queueing stale ones.
WAITING_WEIGHTS = 8
# Plain numbers: as enumerations they cost more than the calls that they go to.
_NOBLOCK, _NOBLOCK_MORE = int(zmq.NOBLOCK), int(zmq.NOBLOCK | zmq.SNDMORE)
_UNKNOWN_ADDRESS = "an address that was gone at once"
# One log line about clients at the door in so many seconds.
_LOG_EVERY_S = 5.0
# How long a port that was just given up may stay in use.
_REBIND_TIMEOUT_S = 5.0
_ZAP_DOMAIN = b"residual-rl"


_HANDSHAKE_FAILED = (
    zmq.EVENT_HANDSHAKE_FAILED_AUTH
    | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL
    | zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL
)


class ChannelError(RuntimeError):
    """Sockets that cannot be opened or used; the message names the key to change."""


class Endpoint(msgspec.Struct, frozen=True, kw_only=True):
    """Where the learner is and how it is protected; named like the keys of the wire's configuration."""

    host: str
    experience_port: int
    weights_port: int
    insecure: bool
    keys_dir: str | None
    lease_s: float


class Arrival(NamedTuple):
    """One message at the learner."""

    identity: bytes
    address: str
    frames: list[bytes]


def new_pair() -> KeyPair:
    """A fresh CURVE key pair."""
    public, secret = zmq.curve_keypair()
    return KeyPair(public=public.decode(), secret=secret.decode())


class LearnerChannel:
    """ROUTER and PUB. All methods but `wake` belong to one thread at a time.

    Raises:
        ChannelError: a port in use, a host that is not this machine's, or no protection beyond loopback.
        KeyFileError: a key file that cannot be used.
    """

    def __init__(self, endpoint: Endpoint, limits: Limits) -> None:
        require_protection(endpoint)
        self._endpoint, self._limits = endpoint, limits
        self._context = zmq.Context()
        self._allowed: dict[str, str] = {}
        self._allowed_stamp: object = None
        self._logged_s = -math.inf
        self.turned_away = 0
        """Connections without a key, or with one that is not on the allow-list."""
        self._wake_read, self._wake_write = os.pipe()
        for end in (self._wake_read, self._wake_write):
            os.set_blocking(end, False)
        try:
            # Before the others, so that nobody is let in unasked.
            self._zap = self._context.socket(zmq.REP)
            self._zap.bind("inproc://zeromq.zap.01")
            self._read_allowed()
            self._open()
        except Exception:
            self.close()
            raise

    def wait(self, timeout_s: float) -> None:
        """Until a message, a wake-up or the timeout; lets clients in meanwhile."""
        events = dict(self._poller.poll(max(0, math.ceil(timeout_s * 1000))))
        if self._zap in events:
            self._judge_client()
        if self._door in events:
            self._watch_door()
        if self._wake_read in events:
            os.read(self._wake_read, 4096)

    def wake(self) -> None:
        """End a `wait`, from any thread."""
        with contextlib.suppress(BlockingIOError):  # full of wake-ups already
            os.write(self._wake_write, b"w")

    def refresh_allowed(self) -> None:
        """Read the allow-list again if it changed. A key that is gone is shut out at once: both ports are
        bound anew, and everybody has to come in again."""
        keys_dir = self._endpoint.keys_dir
        if keys_dir is None or allowed_stamp(Path(keys_dir)) == self._allowed_stamp:
            return
        before = self._allowed
        try:
            self._read_allowed()
        except KeyFileError as error:
            self._log_rarely("the allow-list stays as it was: %s", error)
            return
        gone = sorted(before[key] for key in before.keys() - self._allowed.keys())
        log.info("the allow-list has %d keys now, revoked: %s", len(self._allowed), ", ".join(gone) or "none")
        if gone:
            self._open()

    def receive(self) -> Arrival | None:
        """The next message, or None. Frames are bytes: arrays over them are aligned."""
        try:
            first = self._router.recv(_NOBLOCK, copy=False)
        except zmq.Again:
            return None
        frames: list[bytes] = []
        frame = first
        while frame.more:
            frame = self._router.recv(_NOBLOCK, copy=False)
            frames.append(frame.bytes)
        return Arrival(first.bytes, str(first.get("Peer-Address") or ""), frames)

    def send(self, identity: bytes, frames: list[Buffer]) -> None:
        """To one client; dropped if it is gone or does not read."""
        with contextlib.suppress(zmq.Again):  # whatever the learner says is said again
            self._router.send_multipart([identity, *frames], zmq.NOBLOCK, copy=False)

    def publish(self, frames: list[Buffer]) -> None:
        """To every subscriber."""
        self._publisher.send_multipart(frames, zmq.NOBLOCK, copy=False)

    def close(self) -> None:
        """Close all sockets; waits LINGER_MS for what is still to be delivered."""
        self._context.destroy(linger=LINGER_MS)
        os.close(self._wake_read)
        os.close(self._wake_write)

    def _read_allowed(self) -> None:
        if self._endpoint.keys_dir is not None:
            keys_dir = Path(self._endpoint.keys_dir)
            # Before its content: a change in between is read again.
            self._allowed_stamp = allowed_stamp(keys_dir)
            self._allowed = read_allowed(keys_dir)

    def _open(self) -> None:
        """Bind both ports; connections from before are closed."""
        again = hasattr(self, "_publisher")
        if again:
            self._router.disable_monitor()
            for held in (self._router, self._door, self._publisher):
                held.close(linger=0)
        deadline_s = time.monotonic() + (_REBIND_TIMEOUT_S if again else 0.0)
        self._router = self._bind_until(deadline_s, zmq.ROUTER, "experience_port")
        self._door = self._router.get_monitor_socket(
            zmq.EVENT_ACCEPTED | zmq.EVENT_DISCONNECTED | zmq.EVENT_CLOSED | _HANDSHAKE_FAILED
        )
        self._addresses: dict[int, str] = {}
        self._failed_handshake = False
        self._publisher = self._bind_until(deadline_s, zmq.PUB, "weights_port")
        self._poller = zmq.Poller()
        for source in (self._router, self._zap, self._door, self._wake_read):
            self._poller.register(source, zmq.POLLIN)

    def _bind_until(self, deadline_s: float, kind: int, key: str) -> zmq.Socket[bytes]:
        """ZeroMQ gives a port up in the background."""
        while True:
            try:
                return self._bind(kind, self._endpoint, key, self._limits)
            except ChannelError:
                if time.monotonic() >= deadline_s:
                    raise
                time.sleep(0.01)

    def _bind(self, kind: int, endpoint: Endpoint, key: str, limits: Limits) -> zmq.Socket[bytes]:
        socket = self._context.socket(kind)
        _set_common_options(socket, endpoint)
        socket.setsockopt(zmq.MAXMSGSIZE, limits.max_message_bytes)
        if kind == zmq.PUB:
            socket.setsockopt(zmq.SNDHWM, WAITING_WEIGHTS)
        if endpoint.keys_dir is not None:
            keys_dir = Path(endpoint.keys_dir)
            socket.setsockopt(zmq.ZAP_DOMAIN, _ZAP_DOMAIN)
            socket.setsockopt(zmq.CURVE_SERVER, 1)
            socket.setsockopt_string(zmq.CURVE_SECRETKEY, read_pair(keys_dir / "learner.secret").secret)
        port = getattr(endpoint, key)
        try:
            socket.bind(f"tcp://{_numeric(endpoint.host)}:{port}")
        except zmq.ZMQError as error:
            socket.close(linger=0)
            raise ChannelError(_bind_problem(error, endpoint.host, key, port)) from error
        return socket

    def _judge_client(self) -> None:
        """Answer one question of ZeroMQ's authentication protocol (RFC 27)."""
        version, request, _domain, address, _identity, mechanism, *credentials = self._zap.recv_multipart()
        name = None
        if mechanism == b"CURVE" and credentials:
            name = self._allowed.get(z85.encode(credentials[0]).decode())
        status, text = (b"200", b"OK") if name is not None else (b"400", b"unknown key")
        if name is None:
            self._turn_away(address.decode(), "its key is not on the allow-list")
        self._zap.send_multipart([version, request, status, text, (name or "").encode(), b""])

    def _watch_door(self) -> None:
        """Learn of clients that never showed a key: ZeroMQ says no more than that a handshake failed, right
        before it says which connection ended."""
        while self._door.poll(0):
            event = parse_monitor_message(self._door.recv_multipart())
            kind, descriptor = event["event"], event["value"]
            if kind == zmq.EVENT_ACCEPTED:
                self._addresses[descriptor] = _peer_of(descriptor)
            elif kind == zmq.EVENT_DISCONNECTED:
                address = self._addresses.pop(descriptor, _UNKNOWN_ADDRESS)
                if self._failed_handshake and self._endpoint.keys_dir is not None:
                    self._turn_away(address, "it showed no key")
                self._failed_handshake = False
            elif kind & _HANDSHAKE_FAILED:
                # With a key that was refused, `_judge_client` has said so.
                self._failed_handshake = kind != zmq.EVENT_HANDSHAKE_FAILED_AUTH

    def _turn_away(self, address: str, why: str) -> None:
        self.turned_away += 1
        self._log_rarely("turned away (%d so far) a client at %s: %s", self.turned_away, address, why)

    def _log_rarely(self, line: str, *values: object) -> None:
        now_s = time.monotonic()
        if now_s - self._logged_s >= _LOG_EVERY_S:
            self._logged_s = now_s
            log.warning(line, *values)


class ClientChannel:
    """DEALER and SUB of one actor or evaluator; belongs to one thread.

    Raises:
        ChannelError: an address that is none, or no protection beyond loopback.
        KeyFileError: a key file that cannot be used.
    """

    def __init__(self, endpoint: Endpoint, limits: Limits, actor_id: str) -> None:
        require_protection(endpoint)
        self._context = zmq.Context()
        try:
            self._dealer = self._connect(zmq.DEALER, endpoint, endpoint.experience_port, limits, actor_id)
            self._subscriber = self._connect(zmq.SUB, endpoint, endpoint.weights_port, limits, actor_id)
        except Exception:
            self.close()
            raise

    def wait(self, timeout_s: float) -> None:
        """Until the learner answers or the timeout."""
        self._dealer.poll(max(0, math.ceil(timeout_s * 1000)))

    def receive(self) -> list[bytes] | None:
        """The learner's next answer, or None."""
        return _receive(self._dealer)

    def receive_newest_weights(self) -> list[bytes] | None:
        """The newest publication since the last call, or None."""
        newest = None
        while (frames := _receive(self._subscriber)) is not None:
            newest = frames
        return newest

    def send(self, frames: list[Buffer]) -> None:
        """Hand over to ZeroMQ, which keeps it for a learner that is away.

        Raises:
            ChannelError: the other end refused this side's key, or is no learner; ZeroMQ gave up on it.
        """
        try:
            for frame in frames[:-1]:
                self._dealer.send(frame, _NOBLOCK_MORE, copy=False)
            self._dealer.send(frames[-1], _NOBLOCK, copy=False)
        except zmq.Again as error:
            raise ChannelError(
                "it closed the connection: it does not know this key (its folder allowed/), "
                "or one side has wire.keys_dir and the other has not, or it is no learner"
            ) from error

    def close(self) -> None:
        """Close both sockets; waits LINGER_MS for what is still to be delivered."""
        self._context.destroy(linger=LINGER_MS)

    def _connect(
        self, kind: int, endpoint: Endpoint, port: int, limits: Limits, actor_id: str
    ) -> zmq.Socket[bytes]:
        socket = self._context.socket(kind)
        _set_common_options(socket, endpoint)
        socket.setsockopt(zmq.MAXMSGSIZE, limits.max_message_bytes)
        socket.setsockopt(zmq.RECONNECT_IVL, 100)
        socket.setsockopt(zmq.RECONNECT_IVL_MAX, 2000)
        if kind == zmq.SUB:
            socket.setsockopt(zmq.RCVHWM, WAITING_WEIGHTS)
            socket.setsockopt(zmq.SUBSCRIBE, b"")
        else:
            # Credit is the bound. Not IMMEDIATE: it would throw away a learner's last words, unread.
            socket.setsockopt(zmq.SNDHWM, 0)
        if endpoint.keys_dir is not None:
            keys_dir = Path(endpoint.keys_dir)
            pair = read_pair(find_client_secret(keys_dir, actor_id))
            socket.setsockopt_string(zmq.CURVE_SERVERKEY, read_public(keys_dir / "learner.public"))
            socket.setsockopt_string(zmq.CURVE_PUBLICKEY, pair.public)
            socket.setsockopt_string(zmq.CURVE_SECRETKEY, pair.secret)
        try:
            socket.connect(f"tcp://{endpoint.host}:{port}")
        except zmq.ZMQError as error:
            raise ChannelError(f"wire.host={endpoint.host} is no address to connect to: {error}") from error
        return socket


def require_protection(endpoint: Endpoint) -> None:
    """Refuse to leave this machine without keys.

    Raises:
        ChannelError: neither loopback, nor keys, nor insecure.
    """
    if _is_loopback(endpoint.host) or endpoint.keys_dir is not None or endpoint.insecure:
        return
    raise ChannelError(
        f"wire.host={endpoint.host} is not loopback and there are no keys: make them with "
        "bash launch/keys.sh and set wire.keys_dir, or accept anybody with wire.insecure=true"
    )


def _receive(socket: zmq.Socket[bytes]) -> list[bytes] | None:
    try:
        return socket.recv_multipart(zmq.NOBLOCK)
    except zmq.Again:
        return None


def _peer_of(descriptor: int) -> str:
    """The address at the other end of an accepted connection, unless it is gone already: on loopback ZeroMQ
    is often faster than we are."""
    try:
        with sockets.socket(fileno=os.dup(descriptor)) as duplicate:
            return str(duplicate.getpeername()[0])
    except OSError:
        return _UNKNOWN_ADDRESS


def _set_common_options(socket: zmq.Socket[bytes], endpoint: Endpoint) -> None:
    socket.setsockopt(zmq.LINGER, LINGER_MS)
    # A connection that a router in between forgot is noticed and made anew. By TCP, not by ZeroMQ's own
    # heartbeats: with a full receive queue these abort the process (libzmq issue 3937, still in 4.3.5).
    idle_s = max(1, int(endpoint.lease_s / 2))
    socket.setsockopt(zmq.TCP_KEEPALIVE, 1)
    socket.setsockopt(zmq.TCP_KEEPALIVE_IDLE, idle_s)
    socket.setsockopt(zmq.TCP_KEEPALIVE_INTVL, idle_s)
    socket.setsockopt(zmq.TCP_KEEPALIVE_CNT, 2)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(_numeric(host)).is_loopback
    except ValueError:
        return False


def _numeric(host: str) -> str:
    """ZeroMQ binds to addresses, not to names."""
    return "127.0.0.1" if host == "localhost" else host


def _bind_problem(error: zmq.ZMQError, host: str, key: str, port: int) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"wire.{key}={port} on {host} is in use: end the process that has it or choose another port"
    return f"wire.host={host} cannot be bound (wire.{key}={port}): {error}"
