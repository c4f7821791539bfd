"""What a remote actor makes of its command line."""

from pathlib import Path

import pytest

from actor.remote import make_overrides
from config.compose import compose_config
from config.process import UsageError


def test_the_address_becomes_overrides_and_the_rest_goes_on() -> None:
    words = ["wire.heartbeat_s=2", "actor.num_envs=2"]
    overrides = make_overrides("tcp://10.0.0.7:6000", Path("/there/its keys"), words, "gpu 3")
    assert overrides[-2:] == words
    config = compose_config(overrides)
    wire, actor = config.wire, config.actor
    assert (wire.host, wire.experience_port, wire.weights_port) == ("10.0.0.7", 6000, 6001)
    assert (wire.keys_dir, wire.heartbeat_s) == ("/there/its keys", 2)
    assert (actor.id, actor.count, actor.num_envs) == ("actor-gpu-3", 1, 2)
    assert actor.spool == "runs/spools/10.0.0.7-6000"
    assert actor.index >= 100


def test_what_is_said_wins_over_what_is_guessed() -> None:
    words = ["actor.id=mine", "actor.index=3", "actor.count=2", "actor.spool=null", "wire.weights_port=9"]
    overrides = make_overrides("tcp://h:1", None, words, "host")
    assert overrides == ["wire.host=h", "wire.experience_port=1", *words]


def test_two_hosts_play_different_episodes() -> None:
    [one, two] = [
        compose_config(make_overrides("tcp://h:1", None, [], name)).actor.index
        for name in ("host-a", "host-b")
    ]
    assert one != two


@pytest.mark.parametrize(
    ("address", "host", "port"),
    [
        ("tcp://[::1]:5588", "::1", 5588),
        ("tcp://[2001:db8::7]:1", "2001:db8::7", 1),
        ("tcp://[fe80::1%eth0]:5588", "fe80::1%eth0", 5588),
        ("tcp://[fe80::1%25eth0]:5588", "fe80::1%eth0", 5588),
        ("tcp://gpu-3.lab:5588", "gpu-3.lab", 5588),
    ],
)
def test_addresses_of_every_kind_reach_the_configuration(address: str, host: str, port: int) -> None:
    wire = compose_config(make_overrides(address, None, [], "host")).wire
    assert (wire.host, wire.experience_port) == (host, port)


@pytest.mark.parametrize("host", ["0.0.0.0", "[::]", "*"])
def test_where_a_learner_listens_is_no_address_to_connect_to(host: str) -> None:
    with pytest.raises(UsageError, match="nobody can connect to it: give the address of the learner's host"):
        make_overrides(f"tcp://{host}:5588", None, [], "host")


@pytest.mark.parametrize("port", [0, 65535, 70000])
def test_a_port_out_of_range_is_named_with_the_range(port: int) -> None:
    with pytest.raises(UsageError, match=f"h:{port}: the port must be in 1 .. 65534"):
        make_overrides(f"tcp://h:{port}", None, [], "host")


@pytest.mark.parametrize(
    "address",
    [
        "", "10.0.0.7:5588", "tcp://h", "tcp://h:x", "tcp://h:1/a", "http://h:1", "tcp://::1:5588", "::1",
        "tcp://[::1]", "tcp://me@h:1", "tcp://h h:1", "tcp://h:1?x=2",
    ],
)  # fmt: skip
def test_no_address_is_one_clear_line(address: str) -> None:
    with pytest.raises(UsageError, match="is no address: write tcp://HOST:PORT"):
        make_overrides(address, None, [], "host")
