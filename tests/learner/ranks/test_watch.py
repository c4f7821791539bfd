"""The end of a rank ends all others, and is said once, by its name."""

import contextlib
import json
import os
import signal
import socket
import struct
import threading
import time

import pytest

from learner.ranks import watch
from learner.ranks.ranks import Ranks
from learner.ranks.watch import Entrance, Peer, RankError, connect
from tests.support.ranks import on_ranks


def end_one(ranks: Ranks, number: int, idle: bool, silent_s: float) -> tuple[str, float]:
    """Send a signal to the last rank; what rank 0 gets to know of it, and after how many seconds."""
    watch.SILENT_S = silent_s
    peer = next(peer for peer in ranks._watch._peers if peer.rank == ranks.size - 1)
    os.kill(peer.process, number)
    began_s = time.monotonic()
    try:
        while time.monotonic() - began_s < 20:
            ranks.raise_if_lost() if idle else ranks.tell(b"something")
            time.sleep(0.01)
    except RankError as error:
        with contextlib.suppress(ProcessLookupError):
            os.kill(peer.process, signal.SIGKILL)
        assert str(peer) in str(error), str(error)
        return str(error), time.monotonic() - began_s
    raise AssertionError("never noticed")


def hear_all(ranks: Ranks) -> None:
    while True:
        ranks.hear()


@pytest.mark.parametrize("idle", [True, False], ids=["idle", "in a collective"])
def test_a_rank_that_is_killed_is_named_at_once(idle: bool) -> None:
    said, seconds = on_ranks(
        3, end_one, signal.SIGKILL, idle, 60.0, others=hear_all, ends=(0, 1, -signal.SIGKILL)
    )
    assert said.startswith("rank 2 (process ") and "has ended" in said
    assert seconds < 5


def test_a_rank_that_hangs_is_named() -> None:
    said, _ = on_ranks(2, end_one, signal.SIGSTOP, True, 0.5, others=hear_all, ends=(0, -signal.SIGKILL))
    assert "rank 1 (process " in said and "no sign of life" in said


STRANGERS = {
    "silent": b"",
    "of another protocol": b"GET / HTTP/1.1\r\n\r\n",
    "that says less than it promises": struct.pack("!i", 100) + b"[",
    "without a token": struct.pack("!i", 2) + b"[]",
    "with a wrong token": struct.pack("!i", 18) + b'["guess", 1, 2, 3]',
    "with deep brackets": struct.pack("!i", 4000) + b"[" * 4000,
}


@pytest.mark.parametrize("said", STRANGERS.values(), ids=STRANGERS)
def test_a_stranger_keeps_nobody_out(said: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "SILENT_S", 0.5)
    entrance = Entrance("127.0.0.1")
    with socket.create_connection(("127.0.0.1", json.loads(entrance.address())[1])) as stranger:
        stranger.sendall(said)
        others = threading.Thread(target=lambda: connect(entrance.address(), 1))
        others.start()
        [peer] = entrance.accept(1)
        others.join()
    assert peer == Peer.here(1)


def test_a_rank_that_does_not_come_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "ARRIVAL_S", 0.2)
    with pytest.raises(
        RankError, match="0 of 1 other processes .* can their hosts connect to it on any port"
    ):
        Entrance("127.0.0.1").accept(1)
