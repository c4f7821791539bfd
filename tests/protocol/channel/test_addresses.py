"""Laws of addresses: what may be bound and connected to, over IPv4 and IPv6, and what is said of the rest."""

import errno
import socket
from pathlib import Path

import pytest

from launch.make_keys import make_keys
from launch.run.startable import LaunchError, require_free_ports
from protocol.channel.addresses import ChannelError
from protocol.channel.client import ClientChannel
from protocol.channel.learner import LearnerChannel
from protocol.channel.sockets import Endpoint
from tests.support.channels import LIMITS, endpoint, talk
from tests.support.wire import make_wire

SIDES = [LearnerChannel, lambda at, limits: ClientChannel(at, limits, "a")]


def has_ipv6() -> bool:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        return False
    return True


def link_local() -> str | None:
    """An address of this machine that needs its interface to be named."""
    table = Path("/proc/net/if_inet6")
    for line in table.read_text().splitlines() if table.exists() else []:
        digits, _, _, scope, _, interface = line.split()
        if scope == "20":
            return f"{socket.inet_ntop(socket.AF_INET6, bytes.fromhex(digits))}%{interface}"
    return None


ipv6 = pytest.mark.skipif(not has_ipv6(), reason="no IPv6 on this machine")


def assert_both_ways(learner_at: Endpoint, client_at: Endpoint) -> None:
    learner, client = LearnerChannel(learner_at, LIMITS), ClientChannel(client_at, LIMITS, "actor-0")
    try:
        assert talk(learner, client, timeout_s=10.0) == (True, True)
    finally:
        client.close()
        learner.close()


@pytest.mark.parametrize("host", ["0.0.0.0", "10.1.2.3", "*", "example.org", "::", "2001:db8::7", "::2"])
@pytest.mark.parametrize("side", SIDES)
def test_beyond_loopback_needs_keys_or_insecure(side, host: str, free_ports: tuple[int, int]) -> None:
    with pytest.raises(ChannelError, match="launch/keys.sh .*wire.insecure=true"):
        side(endpoint(free_ports, None, host=host), LIMITS)


@pytest.mark.parametrize(
    ("listens", "connects"),
    [
        ("0.0.0.0", "127.0.0.1"),
        ("0.0.0.0", "0.0.0.0"),  # a run's own actors have its configuration
        ("*", "*"),
        ("localhost", "localhost"),
        ("localhost", "127.0.0.1"),
        ("127.0.0.7", "127.0.0.7"),
        pytest.param("::1", "::1", marks=ipv6),
        pytest.param("::", "::", marks=ipv6),
        pytest.param("::", "::1", marks=ipv6),
        pytest.param("::", "127.0.0.1", marks=ipv6),
        pytest.param(link_local(), link_local(), marks=pytest.mark.skipif(not link_local(), reason="none")),
    ],
)
def test_both_ends_meet_at_every_kind_of_address(
    listens: str, connects: str, free_ports: tuple[int, int]
) -> None:
    at = endpoint(free_ports, None, host=listens, insecure=True)
    assert_both_ways(at, endpoint(free_ports, None, host=connects, insecure=True))


@ipv6
def test_keys_protect_ipv6_too_and_who_is_turned_away_is_named(
    tmp_path: Path, free_ports: tuple[int, int], caplog: pytest.LogCaptureFixture
) -> None:
    make_keys(tmp_path / "keys", [])
    at = endpoint(free_ports, tmp_path / "keys", host="::1")
    assert_both_ways(at, at)
    learner = LearnerChannel(at, LIMITS)
    stranger = ClientChannel(endpoint(free_ports, None, host="::1"), LIMITS, "actor-0")
    try:
        while not learner.turned_away:
            learner.wait(0.05)
    finally:
        stranger.close()
        learner.close()
    assert "a client at ::1: it showed no key" in caplog.text


@ipv6
@pytest.mark.parametrize(("connects", "seen"), [("::1", b"::1"), ("127.0.0.1", b"127.0.0.1")])
def test_a_peer_s_address_reads_as_people_write_it(
    connects: str, seen: bytes, free_ports: tuple[int, int]
) -> None:
    learner = LearnerChannel(endpoint(free_ports, None, host="::", insecure=True), LIMITS)
    client = ClientChannel(endpoint(free_ports, None, host=connects), LIMITS, "actor-0")
    try:
        client.send([b"word"])
        while not (arrivals := learner.receive(most=1)):
            learner.wait(0.05)
    finally:
        client.close()
        learner.close()
    assert arrivals[0].address.encode() == seen


def test_a_name_with_both_kinds_of_address_is_ipv4_and_one_with_ipv6_alone_is_that(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from protocol.channel import addresses

    known = {"both": ["2001:db8::7", "10.0.0.7"], "new": ["2001:db8::7"], "me": ["127.0.1.1"]}

    def look_up(name: str, port: None, type: int) -> list[tuple[object, ...]]:
        return [(0, 0, 0, "", (address, 0)) for address in known[name]]

    monkeypatch.setattr(addresses.socket, "getaddrinfo", look_up)
    assert [addresses.place_to_connect(name).is_ipv6 for name in known] == [False, True, False]
    assert addresses.place_to_listen("both").host == "10.0.0.7"
    assert addresses.place_to_listen("new").host == "[2001:db8::7]"
    # Debian's /etc/hosts has the host's own name at 127.0.1.1.
    with pytest.raises(ChannelError, match="wire.host=me is 127.0.1.1 on this host, which no other host"):
        addresses.place_to_listen("me")


@pytest.mark.parametrize("side", SIDES)
def test_a_name_that_nobody_knows_is_said_at_once(side, free_ports: tuple[int, int]) -> None:
    with pytest.raises(ChannelError, match="wire.host=no-such-host.invalid cannot be looked up: "):
        side(endpoint(free_ports, None, host="no-such-host.invalid", insecure=True), LIMITS)


@pytest.mark.parametrize("side", SIDES)
def test_a_link_local_address_without_its_interface_is_said(side, free_ports: tuple[int, int]) -> None:
    # github.com/zeromq/pyzmq/issues/1226
    with pytest.raises(ChannelError, match="wire.host=fe80::1 is a link-local .* needs its interface"):
        side(endpoint(free_ports, None, host="fe80::1", insecure=True), LIMITS)


@pytest.mark.parametrize("host", ["198.51.100.9", pytest.param("2001:db8::9", marks=ipv6)])
def test_an_address_of_another_host_is_not_taken_for_another_run(
    host: str, free_ports: tuple[int, int]
) -> None:
    wire = make_wire(free_ports, host=host, insecure=True)
    with pytest.raises(LaunchError, match=f"wire.host={host} is no address of this host") as refused:
        require_free_ports(wire)
    assert "another run" not in str(refused.value)


def test_a_port_that_needs_root_is_not_taken_for_another_run(
    free_ports: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    import zmq

    def refuse(*_: object) -> None:
        raise zmq.ZMQError(errno.EACCES)

    monkeypatch.setattr(zmq.Socket, "bind", refuse)
    with pytest.raises(LaunchError, match="experience_port=80 on 127.0.0.1 is not permitted to this user"):
        require_free_ports(make_wire((80, free_ports[1])))


@pytest.mark.parametrize("host", ["127.0.0.1", pytest.param("::1", marks=ipv6)])
@pytest.mark.parametrize("key", ["experience_port", "weights_port"])
def test_a_port_in_use_is_named_with_its_key_by_learner_and_launcher(
    key: str, host: str, free_ports: tuple[int, int]
) -> None:
    family = socket.AF_INET6 if host == "::1" else socket.AF_INET
    port = free_ports[0] if key == "experience_port" else free_ports[1]
    says = rf"wire.{key}={port} on {host} is in use \(another run\?\)"
    with socket.create_server((host, port), family=family):
        with pytest.raises(ChannelError, match=says):
            LearnerChannel(endpoint(free_ports, None, host=host), LIMITS)
        with pytest.raises(LaunchError, match=says):
            require_free_ports(make_wire(free_ports, host=host))


def test_looking_whether_ports_are_free_leaves_them_free(free_ports: tuple[int, int]) -> None:
    for _ in range(3):
        require_free_ports(make_wire(free_ports))
    at = endpoint(free_ports, None)
    assert_both_ways(at, at)
