"""Laws of the spool, and of an uplink with one; the law about SIGKILL is tests/system/test_chaos.py."""

import multiprocessing
from multiprocessing.connection import Connection
from pathlib import Path

import msgspec
import numpy as np
import pytest

from actor.link.spool import Spool, SpoolError, find_leftovers
from config.wire import WireConfig
from protocol.arrays import Limits
from protocol.codec import encode
from protocol.messages import Experience
from tests.support.wire import TIMEOUT_S, acting, learning, make_columns, make_wire, pump_until


@pytest.fixture
def wire(free_ports: tuple[int, int]) -> WireConfig:
    return make_wire(free_ports)


def leave(folder: Path, wire: WireConfig, session: int, sequences: range) -> None:
    """What a killed actor-0 leaves; message n holds rows from 8 * n on."""
    limits = msgspec.convert(wire, Limits, from_attributes=True)
    spool = Spool(folder, "actor-0", session)
    for sequence in sequences:
        columns = make_columns(8 * sequence)
        spool.keep(sequence, encode(Experience(session=session, sequence=sequence, columns=columns), limits))
    spool.close()


def files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_what_an_earlier_process_left_arrives_in_its_own_session_before_anything_new(
    wire: WireConfig, tmp_path: Path
) -> None:
    leave(tmp_path, wire, 5, range(3))
    with learning(wire) as intake, acting(wire, spool=tmp_path) as uplink:
        uplink.send(make_columns(50))
        assert uplink.flush(TIMEOUT_S)
        received = intake.drain()
        assert intake.ended_sessions() == [("actor-0", 5)]
    assert [int(batch.columns["episode"][0]) for batch in received] == [0, 8, 16, 50]
    assert [batch.session for batch in received[:3]] == [5, 5, 5]
    assert received[3].session != 5
    assert files(tmp_path) == []


def test_what_the_learner_has_already_is_there_once(wire: WireConfig, tmp_path: Path) -> None:
    with learning(wire) as intake:
        with acting(wire) as earlier:
            earlier.send(make_columns(0))
            assert earlier.flush(TIMEOUT_S)
            session = earlier.session
        leave(tmp_path, wire, session, range(2))
        with acting(wire, spool=tmp_path):
            received = intake.drain()
    assert [batch.session for batch in received] == [session, session]
    assert intake.counters()["rows"] == 16
    assert files(tmp_path) == []


def test_what_another_run_left_is_dropped_once_this_learner_takes_the_actor(
    wire: WireConfig, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    leave(tmp_path, wire, 5, range(7, 9))
    with learning(wire) as intake, acting(wire, spool=tmp_path):
        assert intake.drain() == []
    assert "2 messages of an earlier actor-0 are lost" in caplog.text
    assert "another run" in caplog.text
    assert files(tmp_path) == []


def hold(folder: Path, pipe: Connection) -> None:
    spool = Spool(folder, "actor-0", 5)
    spool.keep(0, [b"words"])
    pipe.send("held")
    pipe.recv()


def test_the_spool_of_a_living_process_is_no_leftover_but_that_of_a_killed_one_is(tmp_path: Path) -> None:
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=hold, args=(tmp_path, theirs))
    process.start()
    assert ours.poll(60.0)
    assert find_leftovers(tmp_path, "actor-0") == []
    process.kill()
    process.join()
    assert find_leftovers(tmp_path, "actor-1") == []
    [spool] = find_leftovers(tmp_path, "actor-0")
    assert spool.session == 5
    spool.close()


def test_a_torn_file_ends_what_is_delivered(
    wire: WireConfig, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    limits = msgspec.convert(wire, Limits, from_attributes=True)
    leave(tmp_path, wire, 5, range(4))
    torn = tmp_path / "actor-0" / "5" / "2"
    torn.write_bytes(torn.read_bytes()[:-1])
    [spool] = find_leftovers(tmp_path, "actor-0")
    messages = spool.load(limits)
    spool.close()
    assert [message.sequence for message in messages] == [0, 1]
    assert isinstance(messages[1], Experience)
    np.testing.assert_array_equal(messages[1].columns["observation"], make_columns(8)["observation"])
    assert "2 of 4 messages were not whole" in caplog.text


def test_a_name_is_no_path(tmp_path: Path) -> None:
    for name in ("../outside", "a/b", "..", "."):
        spool = Spool(tmp_path / "spool", name, 1)
        spool.keep(0, [b"words"])
        spool.close()
        [left] = find_leftovers(tmp_path / "spool", name)
        left.close()
    assert [path.name for path in tmp_path.iterdir()] == ["spool"]
    assert len(files(tmp_path / "spool")) == 4


def test_a_folder_that_cannot_be_used_names_the_key(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SpoolError, match=r"actor.spool=.*file cannot be used: Not a directory"):
        Spool(tmp_path / "file", "actor-0", 1)


def test_what_is_durable_leaves_no_file(wire: WireConfig, tmp_path: Path) -> None:
    with learning(wire), acting(wire, spool=tmp_path) as uplink:
        for number in range(5):
            uplink.send(make_columns(8 * number))
        assert uplink.flush(TIMEOUT_S)
        pump_until(lambda: files(tmp_path) == [], uplink)
