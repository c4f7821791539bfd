"""The end of a rank ends all others, and is said once, by its name."""

import contextlib
import os
import signal
import time

import pytest

from learner.ranks import watch
from learner.ranks.ranks import Ranks
from learner.ranks.watch import RankError
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
        assert str(peer) in str(error)
        return str(error), time.monotonic() - began_s
    raise AssertionError("never noticed")


@pytest.mark.parametrize("idle", [True, False], ids=["idle", "in a collective"])
def test_a_rank_that_is_killed_is_named_at_once(idle: bool) -> None:
    said, seconds = on_ranks(3, end_one, signal.SIGKILL, idle, 60.0, ends=(0, 1, -signal.SIGKILL))
    assert said.startswith("rank 2 (process ") and "has ended" in said
    assert seconds < 5


def test_a_rank_that_hangs_is_named() -> None:
    said, _ = on_ranks(2, end_one, signal.SIGSTOP, True, 0.5, ends=(0, -signal.SIGKILL))
    assert "rank 1 (process " in said and "no sign of life" in said
