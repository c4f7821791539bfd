"""Child processes, each in its own process group: reads their output, notices when they end, and ends all."""

import contextlib
import functools
import logging
import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from config.process import die_with_parent
from launch.run.guard import PATIENCE_S

log = logging.getLogger("launch")

# Signal, whether it goes to the whole group, and the seconds to wait after it; below ten in all.
# The first signal goes to the child alone, since a child ends its own workers. It is SIGTERM: a child that is
# still importing ends silently, while SIGINT would print a traceback.
ESCALATION = ((signal.SIGTERM, False, 5.0), (signal.SIGTERM, True, 2.5), (signal.SIGKILL, True, 1.5))

ERROR = "error: "  # how the line of a process that cannot go on begins


@dataclass(frozen=True)
class Command:
    """One process of a run. `name` is the prefix of its lines, `role` decides what happens when it ends."""

    name: str
    role: str
    argv: tuple[str, ...]
    env: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Ended:
    """A child that has ended; `code` as in a shell: 128 + signal if a signal ended it."""

    command: Command
    code: int
    error: str = ""
    """What its last line with an error said."""


class Child:
    """A running command. Its standard output and errors go to `log_path`, unless that is None, and, line by
    line, to `echo`. It gets the signal `orphaned` if this process is killed."""

    def __init__(
        self, command: Command, log_path: Path | None, echo: Callable[[str, str], None], orphaned: int
    ) -> None:
        self.command = command
        self._echo = echo
        self._unfinished = b""
        self.error = ""
        self._file = Path(log_path or os.devnull).open("ab", buffering=0)  # noqa: SIM115
        self._process = subprocess.Popen(
            command.argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={**os.environ, **dict(command.env)},
            process_group=0,
            preexec_fn=functools.partial(die_with_parent, os.getpid(), orphaned),
        )
        assert self._process.stdout is not None
        self.output = self._process.stdout
        os.set_blocking(self.output.fileno(), False)

    @property
    def group(self) -> int:
        """The id of its process group, which is the process id of the child."""
        return self._process.pid

    def signal(self, number: int, group: bool) -> None:
        """Send a signal to the child or to its whole group; it is no error if they have ended."""
        try:
            (os.killpg if group else os.kill)(self._process.pid, number)
        except ProcessLookupError:
            log.debug("%s had ended before signal %d", self.command.name, number)

    def read(self) -> bool:
        """Pass on what the child wrote; False at the end of its output."""
        try:
            data = self.output.read(1 << 16)
        except BlockingIOError:
            return True
        if data is None:
            return True
        with contextlib.suppress(OSError):  # where the disk is full, lines are still shown
            self._file.write(data)
        *lines, self._unfinished = (self._unfinished + data).split(b"\n")
        if not data and self._unfinished:
            lines, self._unfinished = [self._unfinished], b""
        for line in lines:
            text = line.decode(errors="replace").rstrip("\r")
            if text.startswith(ERROR):
                self.error = text.removeprefix(ERROR)
            self._echo(self.command.name, text)
        return bool(data)

    def ended(self) -> Ended | None:
        """How the child ended; None while it runs."""
        code = self._process.poll()
        if code is None:
            return None
        return Ended(self.command, 128 - code if code < 0 else code)

    def clear(self) -> None:
        """After the child has ended: kill workers that still run, pass on the last lines."""
        self.signal(signal.SIGKILL, group=True)
        deadline = time.monotonic() + 1.0
        while self.read() and time.monotonic() < deadline:
            time.sleep(0.005)
        self.output.close()
        self._file.close()


class Guard:
    """A second process that ends all children if this process is killed, then removes `private`: see
    guard.py."""

    def __init__(self, patience_s: float, private: Path | None) -> None:
        argv = [sys.executable, "-IS", Path(__file__).with_name("guard.py"), str(patience_s)]
        argv += [] if private is None else [private]
        self._process = subprocess.Popen(argv, stdin=subprocess.PIPE, process_group=0, text=True)

    def tell(self, word: str, group: int) -> None:
        """Tell it that a group has started (`+`) or ended (`-`)."""
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # the guard was killed: the run continues without it
            self._process.stdin.write(f"{word}{group}\n")
            self._process.stdin.flush()

    def dismiss(self) -> None:
        """End it, when all children have ended."""
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        self._process.wait()


class Team:
    """All children of a run; without `log_dir` their lines go to `echo` alone.

    Args:
        private: a folder that is removed after the last child, even if this process is killed. Then children
            are killed at once; without it they have some seconds to end by themselves.
    """

    def __init__(
        self, log_dir: Path | None, echo: Callable[[str, str], None], private: Path | None = None
    ) -> None:
        if log_dir is not None:
            log_dir.mkdir(parents=True, exist_ok=True)
        self._log_dir = log_dir
        self._echo = echo
        self._private = private
        self._children: list[Child] = []
        self._guard: Guard | None = None  # runs while there are children
        self._selector = selectors.DefaultSelector()

    def start(self, command: Command) -> None:
        """Raises OSError: the program cannot be started."""
        patience_s, orphaned = (
            (PATIENCE_S, signal.SIGTERM) if self._private is None else (0.0, signal.SIGKILL)
        )
        # Before the child, so that no child is unguarded.
        self._guard = self._guard or Guard(patience_s, self._private)
        log_path = None if self._log_dir is None else self._log_dir / f"{command.name}.log"
        child = Child(command, log_path, self._echo, orphaned)
        self._guard.tell("+", child.group)
        self._children.append(child)
        self._selector.register(child.output, selectors.EVENT_READ, child)

    def alive(self, role: str | None = None) -> list[Command]:
        """The commands that still run, of one role or of all."""
        return [c.command for c in self._children if role in (None, c.command.role)]

    def pump(self, timeout_s: float) -> list[Ended]:
        """Pass on lines for up to `timeout_s` seconds; return the children that have ended since."""
        if not self._selector.get_map():
            time.sleep(timeout_s)
        for key, _ in self._selector.select(timeout_s):
            if not key.data.read():
                self._selector.unregister(key.fileobj)
        return [self._remove(child, end) for child in list(self._children) if (end := child.ended())]

    def end(self, steps: Iterable[tuple[int, bool, float]] = ESCALATION) -> list[Ended]:
        """End all children that still run: each step sends a stronger signal. Returns those that ended."""
        ended: list[Ended] = []
        for number, group, patience_s in steps:
            for child in self._children:
                child.signal(number, group)
            deadline = time.monotonic() + patience_s
            while self._children and time.monotonic() < deadline:
                ended += self.pump(0.05)
        for command in self.alive():
            log.warning(
                "%s was killed and has not ended yet: the machine is busy, or its disk does not answer",
                command.name,
            )
        return ended

    def _remove(self, child: Child, end: Ended) -> Ended:
        if child.output in self._selector.get_map():
            self._selector.unregister(child.output)
        child.clear()
        self._children.remove(child)
        assert self._guard is not None
        self._guard.tell("-", child.group)
        if not self._children:
            self._guard.dismiss()
            self._guard = None
        return replace(end, error=child.error)
