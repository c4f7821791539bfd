"""Shows points on a tracker, without ever waiting for it."""

import json
import logging
import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from learner.tracking.following import Job

log = logging.getLogger(__name__)

_ROOT = Path(__file__).resolve().parents[2]
# Where nobody answers wandb.init waits without end, whatever its init_timeout.
START_TIMEOUT_S = 60.0
# A run has to end within ten seconds, whatever a tracker does; after Ctrl-C other things take some of them.
FINISH_TIMEOUT_S, HURRIED_TIMEOUT_S = 8.0, 5.0
# Of that, for a run that ends before its tracker has started: to start offline and keep everything.
_OFFLINE_S = 4.0
_LOOK_EVERY_S = 0.1


class Tracker(NamedTuple):
    """How a tracker is started, and what is said of it."""

    name: str
    """Of its module, <name>_process, and of its log."""
    title: str
    attempts: tuple[dict[str, Any], ...]
    """Arguments of its `init`; each is tried where the one before did not work."""
    what_next: Callable[[str], str]
    """What to do with what it keeps in a place."""
    finish_s: float | None = None
    """How long it may take to finish; None: FINISH_TIMEOUT_S."""
    says_what_next: bool = True
    """At the end, if it has everything."""


class Mirror:
    """Sends what is written to a file of points, by a process that is killed when it takes too long.

    A thread waits for the process: this costs the caller nothing before `close`. What fails is said once.

    Args:
        path: the file; only what is written to it from now on is sent.
        axis: the figure of a point over which the others are drawn.
        number: of the next line; None: as many as there are.
        said_by: the logger of what people read.
    """

    def __init__(
        self,
        path: Path,
        tracker: Tracker,
        axis: str,
        *,
        number: int | None = None,
        said_by: logging.Logger = log,
    ) -> None:
        self._path, self._tracker, self._axis, self._number = path, tracker, axis, number
        self._offset = path.stat().st_size
        self._log, self._deadline_s = said_by, float("inf")
        self._begun, self._ended = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, name=tracker.name, daemon=True)
        self._thread.start()

    def begin(self) -> None:
        """Start the tracker: seconds of processor time, which actors need until their first frames."""
        self._begun.set()

    def end(self, *, hurried: bool = False) -> None:
        """Nothing more is written: send the rest, in the tracker's time or HURRIED_TIMEOUT_S at most.
        The first call counts, and one that is hurried."""
        patience_s = HURRIED_TIMEOUT_S if hurried else self._finish_s
        if hurried or not self._ended.is_set():
            self._deadline_s = min(self._deadline_s, time.monotonic() + patience_s)
            self._ended.set()

    def close(self, stop: threading.Event | None = None) -> None:
        """Wait until the rest is sent, or the time is over; then it is said what to do.
        `stop`: once it is set there is less time."""
        self.end()
        while self._begun.is_set() and self._thread.is_alive():
            self._thread.join(_LOOK_EVERY_S)
            if stop is not None and stop.is_set():
                self.end(hurried=True)
                stop = None

    @property
    def _finish_s(self) -> float:
        return self._tracker.finish_s or FINISH_TIMEOUT_S

    def _run(self) -> None:
        # Inherited by the process. A signal to the whole group ends the learner, whose end it waits for.
        signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT, signal.SIGTERM, signal.SIGHUP))
        self._begun.wait()
        problem: str | None = None
        try:
            for number in range(len(self._tracker.attempts)):
                problem = self._try(number, problem)
                if problem is None:
                    return
        except OSError as error:  # no memory for a process, a full disk
            problem = str(error)
        self._log.warning(
            "nothing goes to %s (%s): %s has every point", self._tracker.title, problem, self._path
        )

    def _try(self, number: int, problem_before: str | None) -> str | None:
        """Send everything, with the arguments of that number. Returns why the tracker did not start."""
        title, what_next = self._tracker.title, self._tracker.what_next
        is_last = number == len(self._tracker.attempts) - 1
        process = self._open(self._tracker.attempts[number])
        try:
            place, problem = self._wait_for_start(process, is_last)
            if place is None:
                return problem
            if problem_before is not None:
                self._log.warning(
                    "%s is not available (%s), the run is kept: %s", title, problem_before, what_next(place)
                )
            if not self._follow(process):
                self._log.warning(
                    "%s has not got everything (%s has): %s", title, self._path, what_next(place)
                )
            elif is_last and self._tracker.says_what_next:
                self._log.info("%s: %s", title, what_next(place))
            return None
        finally:
            _end(process)

    def _open(self, arguments: dict[str, Any]) -> subprocess.Popen[str]:
        patience_s = self._finish_s + 2.0
        job = Job(arguments, str(self._path), self._offset, self._axis, self._number, patience_s)
        logs = self._path.parent / "logs"
        logs.mkdir(exist_ok=True)
        # The processes are part of this project, wherever it lies, and -P keeps the working folder out.
        path = os.pathsep.join(filter(None, (str(_ROOT), os.environ.get("PYTHONPATH"))))
        module = f"learner.tracking.{self._tracker.name}_process"
        with (logs / f"{self._tracker.name}.log").open("a") as errors:
            return subprocess.Popen(
                [sys.executable, "-P", "-m", module, json.dumps(job._asdict())],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True,
                env=os.environ | {"PYTHONPATH": path},
            )  # fmt: skip

    def _wait_for_start(self, process: subprocess.Popen[str], is_last: bool) -> tuple[str | None, str]:
        """The place where the tracker keeps the run, or None and why it did not start."""
        assert process.stdout is not None
        # The last time there is nothing to try instead.
        give_up_s, least_s = float("inf"), 0.0
        if not is_last:
            give_up_s, least_s = time.monotonic() + START_TIMEOUT_S, _OFFLINE_S
        while time.monotonic() < min(give_up_s, self._deadline_s - least_s):
            if select.select([process.stdout], [], [], _LOOK_EVERY_S)[0]:
                said, _, text = process.stdout.readline().strip().partition(" ")
                return (text, "") if said == "+" else (None, text or "its process ended")
        return None, "it does not answer"

    def _follow(self, process: subprocess.Popen[str]) -> bool:
        """Let it send until `end`, then finish. Returns whether everything was sent."""
        assert process.stdin is not None
        self._ended.wait()
        process.stdin.close()
        while process.poll() is None and time.monotonic() < self._deadline_s:
            time.sleep(_LOOK_EVERY_S / 2)
        return process.poll() == 0


def _end(process: subprocess.Popen[str]) -> None:
    """Kill it if it still runs; what it started ends with it."""
    process.kill()
    process.wait()
    for pipe in (process.stdin, process.stdout):
        assert pipe is not None
        pipe.close()
