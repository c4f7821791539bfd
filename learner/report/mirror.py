"""Shows points on Weights & Biases, without ever waiting for it."""

import json
import logging
import os
import select
import shlex
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any, NamedTuple

log = logging.getLogger(__name__)

_PROGRAM = Path(__file__).with_name("wandb_process.py")
# Where nobody answers wandb.init waits without end, whatever its init_timeout.
START_TIMEOUT_S = 60.0
# A run has to end within ten seconds, whatever wandb does; after Ctrl-C other things take some of them.
FINISH_TIMEOUT_S, HURRIED_TIMEOUT_S = 8.0, 5.0
# Of that, for a run that ends before wandb has started: to start offline and keep everything.
_OFFLINE_S = 4.0


class Started(NamedTuple):
    """What became of a start."""

    folder: str | None
    """Where wandb keeps the run; None: it did not start."""
    problem: str


class WandbMirror:
    """Sends what is written to a file of points, by a process that is killed when it takes too long.

    Where wandb cannot start online, the run is kept offline. A thread waits for the process: this costs the
    caller nothing before `close`.

    Args:
        path: the file; only what is written to it from now on is sent.
        arguments: of wandb.init. `dir` is where wandb keeps its files.
        step_key: the figure of a point that is wandb's step.
    """

    def __init__(self, path: Path, arguments: dict[str, Any], step_key: str) -> None:
        self._path, self._arguments, self._step_key = path, arguments, step_key
        self._offset = path.stat().st_size
        self._deadline_s = float("inf")
        self._begun, self._ended = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, name="wandb", daemon=True)
        self._thread.start()

    def begin(self) -> None:
        """Start wandb, which takes seconds of processor time: actors need them until their first frames."""
        self._begun.set()

    def end(self, *, hurried: bool = False) -> None:
        """Nothing more is written: send the rest, for FINISH_TIMEOUT_S or HURRIED_TIMEOUT_S at most."""
        if not self._ended.is_set():
            self._deadline_s = time.monotonic() + (HURRIED_TIMEOUT_S if hurried else FINISH_TIMEOUT_S)
            self._ended.set()

    def close(self) -> None:
        """Wait until the rest is sent, or the time is over; then it is said what to do."""
        self.end()
        if self._begun.is_set():
            self._thread.join()

    def _run(self) -> None:
        # Inherited by the process. A signal to the whole group ends the learner, whose end it waits for.
        signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT, signal.SIGTERM, signal.SIGHUP))
        self._begun.wait()
        mode = self._arguments["mode"]
        try:
            problem = self._try(mode)
            if problem is not None and mode == "online":
                problem = self._try("offline", problem)
        except OSError as error:  # no memory for a process, a full disk
            problem = str(error)
        if problem is not None:
            log.warning("nothing goes to W&B (%s): %s has every point", problem, self._path)

    def _try(self, mode: str, problem_online: str | None = None) -> str | None:
        """Send everything, or keep it where the mode is offline. Returns why wandb did not start."""
        process = self._open(mode)
        try:
            started = self._wait_for_start(process, mode)
            if started.folder is None:
                return started.problem
            sync = f"wandb sync {shlex.quote(started.folder)}"
            if problem_online is not None:
                log.warning("W&B is not available (%s): to send this run later: %s", problem_online, sync)
            if not self._follow(process):
                log.warning("W&B has not got everything; to send the rest: %s", sync)
            return None
        finally:
            _end(process)

    def _open(self, mode: str) -> subprocess.Popen[str]:
        arguments = json.dumps(self._arguments | {"mode": mode})
        words = [str(_PROGRAM), arguments, str(self._offset), self._step_key, str(self._path)]
        logs = self._path.parent / "logs"
        logs.mkdir(exist_ok=True)
        environment = dict(os.environ)
        if mode == "offline":
            environment.pop("WANDB_API_KEY", None)  # wandb refuses a broken one even there
        with (logs / "wandb.log").open("a") as errors:
            # -P: the folder of the program has modules of our own.
            return subprocess.Popen(
                [sys.executable, "-P", *words],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True, env=environment,
            )  # fmt: skip

    def _wait_for_start(self, process: subprocess.Popen[str], mode: str) -> Started:
        assert process.stdout is not None
        # Offline there is nothing to try instead.
        give_up_s, least_s = float("inf"), 0.0
        if mode == "online":
            give_up_s, least_s = time.monotonic() + START_TIMEOUT_S, _OFFLINE_S
        while time.monotonic() < min(give_up_s, self._deadline_s - least_s):
            if select.select([process.stdout], [], [], 0.1)[0]:
                said, _, text = process.stdout.readline().strip().partition(" ")
                return Started(text, "") if said == "+" else Started(None, text or "its process ended")
        return Started(None, "it does not answer")

    def _follow(self, process: subprocess.Popen[str]) -> bool:
        """Let it send until `close`, then finish. Returns whether everything was sent."""
        assert process.stdin is not None
        self._ended.wait()
        process.stdin.close()
        try:
            return process.wait(self._deadline_s - time.monotonic()) == 0
        except subprocess.TimeoutExpired:
            return False


def _end(process: subprocess.Popen[str]) -> None:
    """Kill it if it still runs; wandb-core ends with it."""
    process.kill()
    process.wait()
    for pipe in (process.stdin, process.stdout):
        assert pipe is not None
        pipe.close()
