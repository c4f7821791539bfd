"""Which clients a learner with keys admits, and a log line about those that it refuses."""

import contextlib
import ipaddress
import logging
import math
import os
import socket as sockets
import struct
import time
from pathlib import Path
from typing import Any

import zmq
from zmq.utils import z85
from zmq.utils.monitor import parse_monitor_message

from protocol.channel.keys import KeyFileError, allowed_stamp, read_allowed, read_pair

log = logging.getLogger(__name__)

# At most one log line about refused clients in this time.
_LOG_EVERY_S = 5.0
_ZAP_DOMAIN = b"residual-rl"
_HANDSHAKE_FAILED = (
    zmq.EVENT_HANDSHAKE_FAILED_AUTH
    | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL
    | zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL
)
_WATCHED = zmq.EVENT_ACCEPTED | zmq.EVENT_DISCONNECTED | zmq.EVENT_CLOSED | _HANDSHAKE_FAILED
_KERNELS_CONNECTIONS = (Path("/proc/self/net/tcp"), Path("/proc/self/net/tcp6"))
# FIN_WAIT1, FIN_WAIT2, TIME_WAIT, CLOSE, CLOSE_WAIT, LAST_ACK, CLOSING.
_CLOSED = {"04", "05", "06", "07", "08", "09", "0B"}
_MOST_NAMED = 4


class AccessControl:
    """Answers ZeroMQ's questions about clients, and watches one socket for clients that show no key.

    Args:
        context: of the sockets to protect. They must bind after this is made, else ZeroMQ admits everybody.
        keys_dir: as `protocol.channel.keys` says; None: every client is admitted.

    Raises:
        KeyFileError: a key file that cannot be used.
    """

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]], keys_dir: Path | None) -> None:
        self._keys_dir = keys_dir
        self._allowed: dict[str, str] = {}
        self._allowed_stamp: object = None
        self._logged_s = -math.inf
        self.turned_away = 0
        """Connections without a key, or with one that is not on the allow-list."""
        self._zap = context.socket(zmq.REP)
        self._zap.bind("inproc://zeromq.zap.01")
        self._read_allowed()

    def protect(self, socket: zmq.Socket[bytes]) -> None:
        """Make the socket ask here for every client; call before it binds."""
        if self._keys_dir is not None:
            socket.setsockopt(zmq.ZAP_DOMAIN, _ZAP_DOMAIN)
            socket.setsockopt(zmq.CURVE_SERVER, 1)
            socket.setsockopt_string(zmq.CURVE_SECRETKEY, read_pair(self._keys_dir / "learner.secret").secret)

    def watch(self, socket: zmq.Socket[bytes], port: int) -> list[zmq.Socket[bytes]]:
        """Start to watch a bound socket; returns what to poll for `serve`."""
        self._port = port
        self._monitor = socket.get_monitor_socket(_WATCHED)
        self._addresses: dict[int, str | None] = {}
        self._failed_handshake = False
        return [self._zap, self._monitor]

    def unwatch(self, socket: zmq.Socket[bytes]) -> None:
        socket.disable_monitor()
        self._monitor.close(linger=0)

    def serve(self, events: dict[Any, int]) -> None:
        if self._zap in events:
            self._judge_client()
        if self._monitor in events:
            self._watch_connections()

    def refresh_allowed(self) -> bool:
        """Read the allow-list again if it changed; True: a key was removed from it."""
        if self._keys_dir is None or allowed_stamp(self._keys_dir) == self._allowed_stamp:
            return False
        before = self._allowed
        try:
            self._read_allowed()
        except KeyFileError as error:
            self._log_rarely("the allow-list is not changed: %s", error)
            return False
        gone = sorted(before[key] for key in before.keys() - self._allowed.keys())
        log.info("the allow-list has %d keys now, revoked: %s", len(self._allowed), ", ".join(gone) or "none")
        return bool(gone)

    def _read_allowed(self) -> None:
        if self._keys_dir is not None:
            # Before its content, so that a change in between is read the next time.
            self._allowed_stamp = allowed_stamp(self._keys_dir)
            self._allowed = read_allowed(self._keys_dir)

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

    def _watch_connections(self) -> None:
        """Notice clients that showed no key: ZeroMQ says only that a handshake failed, right before it says
        which connection ended."""
        while self._monitor.poll(0):
            event = parse_monitor_message(self._monitor.recv_multipart())
            kind, descriptor = event["event"], event["value"]
            if kind == zmq.EVENT_ACCEPTED:
                self._addresses[descriptor] = _peer_of(descriptor, self._port)
            elif kind == zmq.EVENT_DISCONNECTED:
                address = self._addresses.pop(descriptor, None)
                if self._failed_handshake and self._keys_dir is not None:
                    self._turn_away(address, "it showed no key")
                self._failed_handshake = False
            elif kind & _HANDSHAKE_FAILED:
                # If a key was refused, `_judge_client` has logged it.
                self._failed_handshake = kind != zmq.EVENT_HANDSHAKE_FAILED_AUTH

    def _turn_away(self, address: str | None, why: str) -> None:
        """Count and log a refused client; its address is None if it was gone before it could be read."""
        self.turned_away += 1
        if time.monotonic() - self._logged_s >= _LOG_EVERY_S:
            where = address or _closed_peers(self._port)
            self._log_rarely("turned away (%d so far) a client at %s: %s", self.turned_away, where, why)

    def _log_rarely(self, line: str, *values: object) -> None:
        now_s = time.monotonic()
        if now_s - self._logged_s >= _LOG_EVERY_S:
            self._logged_s = now_s
            log.warning(line, *values)


def _peer_of(descriptor: int, port: int) -> str | None:
    """The address at the other end of an accepted connection; None if the connection is closed already and
    the descriptor perhaps reused: on loopback ZeroMQ is often faster than this thread."""
    try:
        with sockets.socket(fileno=os.dup(descriptor)) as duplicate:
            ours, theirs = duplicate.getsockname(), duplicate.getpeername()
    except OSError:
        return None
    return plain_address(str(theirs[0])) if ours[1] == port else None


def plain_address(address: str) -> str:
    """An IPv4 address as such, where a socket for IPv6 too reports it."""
    return address.removeprefix("::ffff:")


def _closed_peers(port: int) -> str:
    """Addresses whose connections to `port` are closing or have just closed. The kernel remembers them for a
    minute, at the end that closed first. The refused client is one of them, and nearly always the only one;
    the address of a client on another host that closed first is unknown."""
    lines: list[str] = []
    for table in _KERNELS_CONNECTIONS:
        with contextlib.suppress(OSError):  # no IPv6, or not Linux
            lines += table.read_text().splitlines()[1:]
    found: set[str] = set()
    for line in lines:
        ours, theirs, state = line.split()[1:4]
        if state not in _CLOSED:
            continue
        for near, far in ((ours, theirs), (theirs, ours)):  # a client on this host is listed from both ends
            if int(near.rpartition(":")[2], 16) == port:
                found.add(_address_in_table(far.rpartition(":")[0]))
    named = sorted(found)[:_MOST_NAMED]
    return " or ".join(named) or "an unknown address"


def _address_in_table(digits: str) -> str:
    """IPv4 or IPv6, as the kernel writes it: words of four bytes in this machine's order."""
    words = [int(digits[at : at + 8], 16) for at in range(0, len(digits), 8)]
    return plain_address(str(ipaddress.ip_address(struct.pack(f"={len(words)}I", *words))))
