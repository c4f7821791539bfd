"""Child processes, each in a group of its own: reads their lines, notices their ends, leaves none running."""

import contextlib
import ctypes
import functools
import logging
import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

log = logging.getLogger("launch")

# Signal, whether to the whole group, and the seconds that it is given. The sum stays below ten.
# Workers of a child are its own to end, so the first, polite signal goes to the child alone. It is SIGTERM:
# a child that is still importing ends without a word, where SIGINT would leave a trace.
ESCALATION = ((signal.SIGTERM, False, 5.0), (signal.SIGTERM, True, 2.5), (signal.SIGKILL, True, 1.5))

_LIBC = ctypes.CDLL(None)
_PR_SET_PDEATHSIG = 1


@dataclass(frozen=True)
class Command:
    """One process of a run. `name` prefixes its lines, `role` says what its end means."""

    name: str
    role: str
    argv: tuple[str, ...]
    env: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Ended:
    """A child that ended; `code` is that of a shell (128 + signal)."""

    command: Command
    code: int


def _die_with_parent(parent: int) -> None:
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:  # it died before we could ask
        os.kill(os.getpid(), signal.SIGTERM)


class Child:
    """A running command. Standard output and errors go to `log_path` and, by lines, to `echo`."""

    def __init__(self, command: Command, log_path: Path, echo: Callable[[str, str], None]) -> None:
        self.command = command
        self._echo = echo
        self._unfinished = b""
        self._file = log_path.open("ab", buffering=0)
        self._process = subprocess.Popen(
            command.argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={**os.environ, **dict(command.env)},
            process_group=0,
            preexec_fn=functools.partial(_die_with_parent, os.getpid()),
        )
        assert self._process.stdout is not None
        self.output = self._process.stdout
        os.set_blocking(self.output.fileno(), False)

    @property
    def group(self) -> int:
        """Of its processes; the number of the child itself."""
        return self._process.pid

    def signal(self, number: int, group: bool) -> None:
        """Send to the child or to its whole group; one that is gone is no error."""
        try:
            (os.killpg if group else os.kill)(self._process.pid, number)
        except ProcessLookupError:
            log.debug("%s was gone before signal %d", self.command.name, number)

    def read(self) -> bool:
        """Pass on what the child wrote; False once it will write no more."""
        try:
            data = self.output.read(1 << 16)
        except BlockingIOError:
            return True
        if data is None:
            return True
        with contextlib.suppress(OSError):  # the disk is full: the lines are shown all the same
            self._file.write(data)
        *lines, self._unfinished = (self._unfinished + data).split(b"\n")
        if not data and self._unfinished:
            lines, self._unfinished = [self._unfinished], b""
        for line in lines:
            self._echo(self.command.name, line.decode(errors="replace").rstrip("\r"))
        return bool(data)

    def ended(self) -> Ended | None:
        """The end of the child, if it came."""
        code = self._process.poll()
        if code is None:
            return None
        return Ended(self.command, 128 - code if code < 0 else code)

    def clear(self) -> None:
        """After the end: stop workers that outlived the child, pass on the last lines."""
        self.signal(signal.SIGKILL, group=True)
        deadline = time.monotonic() + 1.0
        while self.read() and time.monotonic() < deadline:
            time.sleep(0.005)
        self.output.close()
        self._file.close()


class Guard:
    """A process beside this one that ends the groups it was told of, should this one be killed."""

    def __init__(self) -> None:
        program = Path(__file__).with_name("guard.py")
        self._process = subprocess.Popen(
            [sys.executable, "-IS", program], stdin=subprocess.PIPE, process_group=0, text=True
        )

    def tell(self, word: str, group: int) -> None:
        """`+`: this group is to be ended; `-`: it is gone."""
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # somebody killed the guard: the run goes on without
            self._process.stdin.write(f"{word}{group}\n")
            self._process.stdin.flush()

    def dismiss(self) -> None:
        """Nobody is left to guard."""
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        self._process.wait()


class Team:
    """All children of a run."""

    def __init__(self, log_dir: Path, echo: Callable[[str, str], None]) -> None:
        log_dir.mkdir(parents=True, exist_ok=True)
        self._log_dir = log_dir
        self._echo = echo
        self._children: list[Child] = []
        self._guard: Guard | None = None  # while there is somebody to guard
        self._selector = selectors.DefaultSelector()

    def start(self, command: Command) -> None:
        """Raises OSError where the program cannot be started."""
        self._guard = self._guard or Guard()  # first: no child is ever without it
        child = Child(command, self._log_dir / f"{command.name}.log", self._echo)
        self._guard.tell("+", child.group)
        self._children.append(child)
        self._selector.register(child.output, selectors.EVENT_READ, child)

    def alive(self, role: str | None = None) -> list[Command]:
        """Commands that still run, of one role or of all."""
        return [c.command for c in self._children if role in (None, c.command.role)]

    def pump(self, timeout_s: float) -> list[Ended]:
        """Pass on lines for up to `timeout_s` seconds; return the children that ended since."""
        if not self._selector.get_map():
            time.sleep(timeout_s)
        for key, _ in self._selector.select(timeout_s):
            if not key.data.read():
                self._selector.unregister(key.fileobj)
        return [self._bury(child, end) for child in list(self._children) if (end := child.ended())]

    def end(self, steps: Iterable[tuple[int, bool, float]] = ESCALATION) -> list[Ended]:
        """End whoever still runs, more firmly from step to step; returns when nobody does."""
        ended: list[Ended] = []
        for number, group, patience_s in steps:
            for child in self._children:
                child.signal(number, group)
            deadline = time.monotonic() + patience_s
            while self._children and time.monotonic() < deadline:
                ended += self.pump(0.05)
        for command in self.alive():
            log.error("%s survived SIGKILL", command.name)
        return ended

    def _bury(self, child: Child, end: Ended) -> Ended:
        if child.output in self._selector.get_map():
            self._selector.unregister(child.output)
        child.clear()
        self._children.remove(child)
        assert self._guard is not None
        self._guard.tell("-", child.group)
        if not self._children:
            self._guard.dismiss()
            self._guard = None
        return end
