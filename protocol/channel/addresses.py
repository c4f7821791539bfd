"""Hosts as people write them (names, IPv4, IPv6) and as ZeroMQ needs them."""

import ipaddress
import os
import socket
from typing import NamedTuple

# ZeroMQ asks for one kind of address alone, and a name may have both.
_LOCALHOST = "127.0.0.1"
# Where a learner listens on all interfaces, a client on its host connects to loopback.
_DIALLED = {"*": _LOCALHOST, "0.0.0.0": _LOCALHOST, "::": "::1"}


class ChannelError(RuntimeError):
    """Sockets that cannot be opened or used; the message names the key to change."""


class Place(NamedTuple):
    """What ZeroMQ binds or connects to."""

    host: str
    """With brackets around an IPv6 address."""
    is_ipv6: bool


def is_loopback(host: str) -> bool:
    """Whether the host is this machine alone, as an address or as localhost."""
    address = _address_of("127.0.0.1" if host == "localhost" else host)
    return address is not None and address.is_loopback


def place_to_listen(host: str) -> Place:
    """Raises ChannelError: a name without an address, or one that others cannot reach."""
    address = _address_of(host)
    if address is not None:
        return _place(address)
    if host == "*" or host in dict(socket.if_nameindex()).values():
        return Place(host, False)
    if host == "localhost":
        return Place(_LOCALHOST, False)
    found = _look_up(host)[0]
    if found.is_loopback:
        raise ChannelError(
            f"wire.host={host} is {found} on this host, which no other host can reach: give the address of "
            "an interface, or 0.0.0.0 (IPv4) or :: (IPv6) for all of them"
        )
    return _place(found)


def place_to_connect(host: str) -> Place:
    """A name stays one: ZeroMQ looks it up again whenever it connects.
    Raises ChannelError: a name without an address."""
    host = _DIALLED.get(host, host)
    address = _address_of(host)
    if address is not None:
        return _place(address)
    if host == "localhost":  # where a learner listens for it
        return Place(_LOCALHOST, False)
    return Place(host, _look_up(host)[0].version == 6)


_Address = ipaddress.IPv4Address | ipaddress.IPv6Address


def _address_of(host: str) -> _Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def _place(address: _Address) -> Place:
    if address.version == 4:
        return Place(str(address), False)
    if address.is_link_local and address.scope_id is None:
        raise ChannelError(
            f"wire.host={address} is a link-local address, which needs its interface: {address}%eth0"
        )
    return Place(f"[{address}]", True)


def _look_up(name: str) -> list[_Address]:
    """IPv4 first: a learner at 0.0.0.0 has no other."""
    try:
        found = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "no host name"
        raise ChannelError(f"wire.host={name} cannot be looked up: {reason}: correct it") from error
    addresses = {ipaddress.ip_address(each[4][0]) for each in found}
    return sorted(addresses, key=lambda address: (address.version, int(address)))


def reason_of(number: int | None) -> str:
    """Of an error of ZeroMQ, whose own text repeats the address."""
    return os.strerror(number or 0)
