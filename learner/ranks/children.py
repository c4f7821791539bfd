"""The other ranks on this host, started by rank 0: its children, which end with it."""

import contextlib
import functools
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping
from types import TracebackType

from config.process import FAILED, die_with_parent
from learner.ranks.watch import Peer

_END_S = 5.0  # for a child to end by itself


class Children:
    """Processes of `python -m learner.follow`, rank 1 and so on. Nothing is left of them after the block.

    Args:
        environment: that all ranks share.
    """

    def __init__(self, count: int, environment: Mapping[str, str]) -> None:
        self._joined = threading.Event()
        self._processes = {rank: _start(rank, environment) for rank in range(1, count + 1)}
        threading.Thread(target=self._watch_start, name="ranks start", daemon=True).start()

    def joined(self) -> None:
        """All are there: their end is noticed by others."""
        self._joined.set()

    def fate(self, peer: Peer) -> str:
        """How one has ended; it is killed if it hangs."""
        process = self._processes[peer.rank]
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(1.0)
        process.kill()
        return _words(process.wait())

    def __enter__(self) -> "Children":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._joined.set()
        for process in self._processes.values():
            if kind is not None:
                process.kill()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(_END_S)
            process.kill()
            process.wait()

    def _watch_start(self) -> None:
        """Until all have joined, rank 0 waits in torch, which does not notice that one has ended."""
        while not self._joined.wait(0.2):
            for rank, process in self._processes.items():
                if (code := process.poll()) is not None and not self._joined.is_set():
                    name = f"rank {rank} (process {process.pid}) of the learner"
                    sys.stderr.write(f"error: {name} {_words(code)} at its start\n")
                    sys.stderr.flush()
                    os._exit(FAILED)


def _start(rank: int, environment: Mapping[str, str]) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(
        [sys.executable, "-m", "learner.follow"],
        stdin=subprocess.DEVNULL,
        env={**os.environ, **environment, "RANK": str(rank), "LOCAL_RANK": str(rank)},
        preexec_fn=functools.partial(_follow_parent, os.getpid()),
    )


def _follow_parent(parent: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for rank 0
    die_with_parent(parent, signal.SIGTERM)


def _words(code: int) -> str:
    return f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
