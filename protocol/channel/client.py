"""The client's end: DEALER and SUB; connects, never binds."""

import math
from collections.abc import Iterable
from pathlib import Path

import zmq

from protocol.arrays import Buffer, Limits
from protocol.channel.addresses import ChannelError, place_to_connect, reason_of
from protocol.channel.keys import find_client_secret, read_pair, read_public
from protocol.channel.sockets import (
    HEADER_START,
    LINGER_MS,
    WAITING_WEIGHTS,
    Endpoint,
    require_protection,
    set_common_options,
)

# Plain numbers: enumerations cost more than the calls that use them.
_NOBLOCK, _NOBLOCK_MORE = int(zmq.NOBLOCK), int(zmq.NOBLOCK | zmq.SNDMORE)
# Frames of this size and more are lent to ZeroMQ; to get a smaller one back costs more than to copy it.
_LENT_BYTES = 1 << 20


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
        self._both = zmq.Poller()
        for socket in (self._dealer, self._subscriber):
            self._both.register(socket, zmq.POLLIN)

    def wait(self, timeout_s: float, *, published: bool = False) -> None:
        """Return when the learner answers or at the timeout; with `published` also when it publishes."""
        (self._both if published else self._dealer).poll(max(0, math.ceil(timeout_s * 1000)))

    def receive(self) -> list[bytes] | None:
        """The learner's next answer, or None."""
        return _receive(self._dealer)

    def receive_published(self) -> tuple[list[bytes] | None, list[list[bytes]]]:
        """Since the last call: the newest publication of weights, or None; and pieces with their topics."""
        newest, pieces = None, list[list[bytes]]()
        while (frames := _receive(self._subscriber)) is not None:
            if frames[0].startswith(HEADER_START):
                newest = frames
            else:
                pieces.append(frames)
        return newest, pieces

    def subscribe(self, topics: Iterable[bytes], dropped: Iterable[bytes]) -> None:
        """Ask for what is published under `topics`, and no more for what was `dropped`. ZeroMQ asks again by
        itself when a connection was lost."""
        for topic in dropped:
            self._subscriber.setsockopt(zmq.UNSUBSCRIBE, topic)
        for topic in topics:
            self._subscriber.setsockopt(zmq.SUBSCRIBE, topic)

    def send(self, frames: list[Buffer]) -> None:
        """Give frames to ZeroMQ, which keeps them while the learner is away.
        Raises ChannelError: the other end refused this side's key, or is no learner; ZeroMQ gave up on it."""
        try:
            for frame in frames[:-1]:
                self._dealer.send(frame, _NOBLOCK_MORE, copy=len(frame) < _LENT_BYTES)
            self._dealer.send(frames[-1], _NOBLOCK, copy=len(frames[-1]) < _LENT_BYTES)
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
        set_common_options(socket, endpoint, limits.max_message_bytes)
        socket.setsockopt(zmq.RECONNECT_IVL, 100)
        socket.setsockopt(zmq.RECONNECT_IVL_MAX, 2000)
        if kind == zmq.SUB:
            socket.setsockopt(zmq.RCVHWM, WAITING_WEIGHTS)
            socket.setsockopt(zmq.SUBSCRIBE, HEADER_START)
        else:
            # Credit is the bound. Not IMMEDIATE: it would throw away a learner's last words, unread.
            socket.setsockopt(zmq.SNDHWM, 0)
        if endpoint.keys_dir is not None:
            keys_dir = Path(endpoint.keys_dir)
            pair = read_pair(find_client_secret(keys_dir, actor_id))
            socket.setsockopt_string(zmq.CURVE_SERVERKEY, read_public(keys_dir / "learner.public"))
            socket.setsockopt_string(zmq.CURVE_PUBLICKEY, pair.public)
            socket.setsockopt_string(zmq.CURVE_SECRETKEY, pair.secret)
        place = place_to_connect(endpoint.host)
        socket.setsockopt(zmq.IPV6, place.is_ipv6)
        try:
            socket.connect(f"tcp://{place.host}:{port}")
        except zmq.ZMQError as error:
            reason = reason_of(error.errno)
            raise ChannelError(f"wire.host={endpoint.host} is no address to connect to: {reason}") from error
        return socket


def _receive(socket: zmq.Socket[bytes]) -> list[bytes] | None:
    try:
        return socket.recv_multipart(zmq.NOBLOCK)
    except zmq.Again:
        return None
