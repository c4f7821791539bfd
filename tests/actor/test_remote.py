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
    "address", ["", "10.0.0.7:5588", "tcp://h", "tcp://h:x", "tcp://h:1/a", "http://h:1"]
)
def test_no_address_is_one_clear_line(address: str) -> None:
    with pytest.raises(UsageError, match="is no address: write tcp://HOST:PORT"):
        make_overrides(address, None, [], "host")
