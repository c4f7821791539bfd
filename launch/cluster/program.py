"""A child process that a signal's handler may end and wait for."""

import os
import signal
import subprocess
import time
from collections.abc import Sequence

_POLL_S = 0.1


class Program:
    """Runs `argv` with this process's output. Unlike subprocess.Popen it is safe to use from a handler of a
    signal while the main thread waits for it too."""

    def __init__(self, argv: Sequence[str]) -> None:
        self._process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, preexec_fn=_ignore_warning)

    def ended(self) -> int | None:
        """Its exit code as in a shell; None while it runs."""
        how = os.waitid(os.P_PID, self._process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        if how is None:
            return None
        return how.si_status if how.si_code == os.CLD_EXITED else 128 + how.si_status

    def wait(self) -> int:
        """Its exit code, once it has ended."""
        while (code := self.ended()) is None:
            time.sleep(_POLL_S)
        return code

    def stop(self) -> None:
        """Ask it to end."""
        os.kill(self._process.pid, signal.SIGTERM)

    def end(self, patience_s: float) -> None:
        """Ask it to end, and kill it if it has not after `patience_s` seconds."""
        self.stop()
        deadline_s = time.monotonic() + patience_s
        while self.ended() is None and time.monotonic() < deadline_s:
            time.sleep(_POLL_S)
        if self.ended() is None:
            os.kill(self._process.pid, signal.SIGKILL)
            self.wait()


def _ignore_warning() -> None:
    """Slurm sends the warning that the time is nearly over to all processes of a job. This one's parent stops
    it; what it starts ignores the signal too."""
    signal.signal(signal.SIGUSR2, signal.SIG_IGN)
