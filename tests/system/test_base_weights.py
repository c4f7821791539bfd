"""A trained base reaches actors as a whole or not at all, over real sockets, whoever is killed."""

import multiprocessing
import random
import threading
import time
from multiprocessing.connection import Connection

import msgspec
import numpy as np
import pytest

from actor.link.uplink import Uplink
from config.wire import WireConfig
from protocol.messages import Weights
from protocol.session.pieces import PIECE_BYTES, Blob
from tests.support.wire import TIMEOUT_S, acting, learning, make_columns, make_weights, make_wire, pump_until

PIECES = 12
ROOM = 2 * PIECES * PIECE_BYTES


@pytest.fixture
def wire(free_ports: tuple[int, int]) -> WireConfig:
    return make_wire(free_ports)


def content_of(version: int) -> bytes:
    return np.random.default_rng(version).bytes(PIECES * PIECE_BYTES - 7)


def weights_for(version: int, blob: Blob) -> Weights:
    return msgspec.structs.replace(make_weights(version), base=blob.announced(version))


class Bases:
    """What a client was handed: all of it must be whole."""

    def __init__(self) -> None:
        self.versions: list[int] = []

    def look(self, uplink: Uplink) -> list[int]:
        weights = uplink.newest_weights()
        content = uplink.take_base()
        if weights is not None and content is not None:
            assert weights.base is not None and content == content_of(weights.base.version)
            self.versions.append(weights.base.version)
            uplink.confirm_base()
        return self.versions


def test_a_late_joiner_gets_the_newest_base_and_rows_go_on_meanwhile(wire: WireConfig) -> None:
    bases, sent = Bases(), 0
    with learning(wire) as intake, acting(wire, connect=False, most_base_bytes=ROOM) as uplink:
        for version in (1, 2):
            intake.offer_base(blob := Blob(content_of(version)))
            intake.publish(weights_for(version, blob))
        uplink.connect()
        while not bases.look(uplink):
            if sent == uplink.durable:
                uplink.send(make_columns(0))
                sent += 1
            uplink.pump()
            intake.drain()
    assert bases.versions == [2] and sent >= 1


def test_a_base_waits_until_there_is_room_for_it(wire: WireConfig) -> None:
    with learning(wire) as intake, acting(wire, most_base_bytes=ROOM) as uplink:
        intake.offer_base(blob := Blob(content_of(1)))
        intake.publish(weights_for(1, blob))

        def whole() -> bool:
            assert uplink.newest_weights(with_base=False) is None
            return uplink._base.complete is not None

        pump_until(whole, uplink)
        weights = uplink.newest_weights()
        assert weights is not None and weights.base is not None and uplink.take_base() == content_of(1)
        assert uplink.take_base() is None


def test_a_base_that_is_larger_than_an_actor_can_take_is_refused(
    wire: WireConfig, caplog: pytest.LogCaptureFixture
) -> None:
    with learning(wire) as intake, acting(wire, most_base_bytes=1000) as uplink:
        intake.offer_base(blob := Blob(content_of(1)))
        intake.publish(weights_for(1, blob))
        pump_until(lambda: uplink.newest_weights() or "at most 1000 fit" in caplog.text, uplink)
        uplink.send(make_columns(1))
        assert uplink.flush(TIMEOUT_S)


def test_pieces_stay_while_a_learner_is_started_again(wire: WireConfig) -> None:
    bases, blob = Bases(), Blob(content_of(3))
    with acting(wire, connect=False, most_base_bytes=ROOM) as uplink:
        with learning(wire) as intake:
            intake.offer_base(blob)
            intake.publish(weights_for(3, blob))
            uplink.connect()
            fetch = uplink._base._fetch
            pump_until(lambda: bases.look(uplink) or len(fetch._missing) in range(1, PIECES - 2), uplink)
        before = len(fetch._missing)
        assert 0 < before < PIECES and not bases.versions
        with learning(wire) as intake:
            intake.offer_base(blob)
            intake.publish(msgspec.structs.replace(weights_for(3, blob), version=8))
            pump_until(lambda: bases.look(uplink), uplink)
    assert bases.versions == [3]


def publish(wire: WireConfig, first: int, pipe: Connection) -> None:
    """A learner in a process of its own, with a new base again and again."""
    with learning(wire) as intake:
        version = first
        while not pipe.poll(0.05):
            intake.offer_base(blob := Blob(content_of(version)))
            intake.publish(weights_for(version, blob))
            version += 1
            intake.drain()


def adopt(wire: WireConfig, pipe: Connection) -> None:
    """An actor in a process of its own, that tells which bases it was handed."""
    bases = Bases()
    with acting(wire, most_base_bytes=ROOM) as uplink:
        while not pipe.poll(0.002):
            uplink.pump()
            told = len(bases.versions)
            for version in bases.look(uplink)[told:]:
                pipe.send(version)


@pytest.mark.timeout(120)
def test_a_learner_that_is_killed_at_any_moment_leaves_actors_on_whole_bases(wire: WireConfig) -> None:
    processes, bases, rng = multiprocessing.get_context("forkserver"), Bases(), random.Random(0)
    with acting(wire, connect=False, most_base_bytes=ROOM) as uplink:
        for first in (100, 200, 300):
            ours, theirs = processes.Pipe()
            learner = processes.Process(target=publish, args=(wire, first, theirs))
            learner.start()
            if first == 100:
                uplink.connect()
            until_s = time.monotonic() + rng.uniform(0.0, 0.5)
            # Whatever was adopted before the kill is whole; after it, the next learner's is. What the last
            # one had sent may still arrive first.
            pump_until(lambda first=first: any(each >= first for each in bases.look(uplink)), uplink)
            while time.monotonic() < until_s:
                uplink.pump()
                bases.look(uplink)
            learner.kill()
            learner.join()
            ours.close()
    assert bases.versions == sorted(bases.versions)
    assert {version // 100 for version in bases.versions} == {1, 2, 3}


@pytest.mark.timeout(120)
def test_an_actor_that_is_killed_at_any_moment_comes_back_to_a_whole_base(wire: WireConfig) -> None:
    processes, rng = multiprocessing.get_context("forkserver"), random.Random(1)
    stop, (here, there) = threading.Event(), processes.Pipe()
    learner = processes.Process(target=publish, args=(wire, 100, there))
    learner.start()
    try:
        for _ in range(3):
            ours, theirs = processes.Pipe()
            actor = processes.Process(target=adopt, args=(wire, theirs))
            actor.start()
            assert ours.poll(TIMEOUT_S) and ours.recv() >= 100
            stop.wait(rng.uniform(0.0, 0.3))
            actor.kill()
            actor.join()
            ours.close()
    finally:
        here.send("end")
        learner.join()
    assert learner.exitcode == 0
