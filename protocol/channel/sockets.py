"""What both ends of a connection have in common: where it goes, its protection and its options."""

import errno

import msgspec
import zmq

from protocol.channel.addresses import ChannelError, is_loopback, place_to_listen, reason_of

# How long a closing process may still try to deliver.
LINGER_MS = 500
# Publications that may wait in a socket: slow subscribers skip versions instead of queueing stale ones.
WAITING_WEIGHTS = 8

# Every header of a message begins with it (msgpack: a list of two), and no topic of a piece.
HEADER_START = b"\x92"


class Endpoint(msgspec.Struct, frozen=True, kw_only=True):
    """Where the learner is and how it is protected; named like the keys of the wire's configuration."""

    host: str
    experience_port: int
    weights_port: int
    insecure: bool
    keys_dir: str | None
    lease_s: float


def require_protection(endpoint: Endpoint) -> None:
    """Refuse to leave this machine without keys.
    Raises ChannelError: neither loopback, nor keys, nor insecure."""
    if is_loopback(endpoint.host) or endpoint.keys_dir is not None or endpoint.insecure:
        return
    raise ChannelError(
        f"wire.host={endpoint.host} is not loopback and there are no keys: make them with "
        "bash launch/keys.sh and set wire.keys_dir, or accept anybody with wire.insecure=true"
    )


def set_common_options(socket: zmq.Socket[bytes], endpoint: Endpoint, max_message_bytes: int) -> None:
    """Before the socket binds or connects: later has no effect."""
    socket.setsockopt(zmq.LINGER, LINGER_MS)
    socket.setsockopt(zmq.MAXMSGSIZE, max_message_bytes)
    # A connection that a router in between forgot is noticed and made again. By TCP, not by ZeroMQ's own
    # heartbeats: with a full receive queue these abort the process (libzmq issue 3937, still in 4.3.5).
    idle_s = max(1, int(endpoint.lease_s / 2))
    socket.setsockopt(zmq.TCP_KEEPALIVE, 1)
    socket.setsockopt(zmq.TCP_KEEPALIVE_IDLE, idle_s)
    socket.setsockopt(zmq.TCP_KEEPALIVE_INTVL, idle_s)
    socket.setsockopt(zmq.TCP_KEEPALIVE_CNT, 2)


def bind(socket: zmq.Socket[bytes], endpoint: Endpoint, key: str) -> None:
    """Bind to the port that the configuration has under `key`; closes the socket where that fails.
    Raises ChannelError: a port in use, or a host that is not this machine's."""
    port = getattr(endpoint, key)
    try:
        place = place_to_listen(endpoint.host)
        socket.setsockopt(zmq.IPV6, place.is_ipv6)
        socket.bind(f"tcp://{place.host}:{port}")
    except zmq.ZMQError as error:
        socket.close(linger=0)
        raise ChannelError(_bind_problem(error.errno, endpoint.host, key, port)) from error
    except ChannelError:
        socket.close(linger=0)
        raise


def require_free(endpoint: Endpoint) -> None:
    """Raise ChannelError if a learner could not bind its ports."""
    context = zmq.Context()
    try:
        for key in ("experience_port", "weights_port"):
            bind(context.socket(zmq.PUB), endpoint, key)
    finally:
        context.destroy(linger=0)


def _bind_problem(number: int | None, host: str, key: str, port: int) -> str:
    if number == errno.EADDRINUSE:
        return (
            f"wire.{key}={port} on {host} is in use (another run?): end the process that has it, or choose "
            "other ports: wire.experience_port=<port> wire.weights_port=<port>"
        )
    if number == errno.EACCES:
        return f"wire.{key}={port} on {host} is not permitted to this user: choose a port above 1023"
    return (
        f"wire.host={host} is no address of this host ({reason_of(number)}): correct it; "
        "0.0.0.0 (IPv4) or :: (IPv6) are all its addresses"
    )
