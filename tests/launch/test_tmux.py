"""A run in tmux whose launcher is killed: what its panes showed, and that nothing of it stays.

python -m pytest tests/launch/test_tmux.py -m slow
"""

import fcntl
import os
import pty
import shutil
import signal
import struct
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from launch.run.guard import PATIENCE_S
from launch.run.tmux import MONITOR_SHARE

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(400),
    pytest.mark.skipif(shutil.which("tmux") is None, reason="no tmux here"),
]

SOCKET = "residual-rl-in-tmux"
TIMEOUT_S = 120.0


class Terminal:
    """`launch.run` in a terminal of its own, and all that appears there."""

    def __init__(self, repository: Path, folder: Path, *overrides: str) -> None:
        self._mark = f"TMUX_TMPDIR={folder}".encode()
        self.shown = b""
        self._end, there = pty.openpty()
        fcntl.ioctl(there, termios.TIOCSWINSZ, struct.pack("4H", 40, 160, 0, 0))
        self._environment = {
            **os.environ,
            "TERM": "xterm",
            "TMUX_TMPDIR": str(folder),
            "COLUMNS": "160",
            "LINES": "40",
        }
        self.process = subprocess.Popen(
            [sys.executable, "-m", "launch", "run", *overrides],
            cwd=repository, stdin=there, stdout=there, stderr=there, env=self._environment,
            start_new_session=True,
        )  # fmt: skip
        os.close(there)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def tmux(self, *words: str) -> str:
        """What tmux answers; nothing once it is gone."""
        command = ["tmux", "-L", SOCKET, *words]
        return subprocess.run(command, env=self._environment, capture_output=True, text=True).stdout

    def pane(self, title: str) -> str:
        """What one pane shows, and what scrolled out of it."""
        for line in self.tmux("list-panes", "-t", "run", "-F", "#{pane_id} #{pane_title}").splitlines():
            if line.partition(" ")[2].startswith(title):
                return self.tmux("capture-pane", "-p", "-J", "-S", "-", "-t", line.split()[0])
        return ""

    def heights(self) -> dict[str, int]:
        """Lines of each pane, by the first word of its title."""
        listed = self.tmux("list-panes", "-t", "run", "-F", "#{pane_title} #{pane_height}").splitlines()
        return {line.split()[0]: int(line.split()[-1]) for line in listed}

    def supervisor(self) -> int:
        """The process in the pane below the monitor."""
        return int(self.tmux("list-panes", "-t", "run", "-F", "#{pane_pid}").split()[1])

    def left(self) -> list[str]:
        """Command lines of everybody that this terminal has started, whoever is the parent now."""
        found = []
        for entry in Path("/proc").iterdir():
            try:
                if entry.name.isdigit() and self._mark in (entry / "environ").read_bytes().split(b"\0"):
                    found.append((entry / "cmdline").read_bytes().replace(b"\0", b" ").decode())
            except (FileNotFoundError, ProcessLookupError, PermissionError):
                continue
        return found

    def end(self) -> str:
        """Wait for the launcher; all that was shown."""
        self.process.wait(TIMEOUT_S)
        self._reader.join(TIMEOUT_S)
        return self.shown.decode(errors="replace")

    def _read(self) -> None:
        try:
            while chunk := os.read(self._end, 4096):
                self.shown += chunk
        except OSError:
            pass  # how Linux says that the other side of a terminal is gone
        os.close(self._end)


def wait_for(holds: Callable[[], object], what: str, timeout_s: float = TIMEOUT_S) -> None:
    deadline = time.monotonic() + timeout_s
    while not holds():
        assert time.monotonic() < deadline, f"not within {timeout_s} s: {what}"
        time.sleep(0.1)


@pytest.fixture
def terminal(repository: Path, tmp_path: Path, free_ports: tuple[int, int]) -> Iterator[Terminal]:
    made = Terminal(
        repository, tmp_path, "name=in-tmux", f"runs_dir={tmp_path}/runs",
        "actor.count=1", "actor.num_envs=2",
        f"wire.experience_port={free_ports[0]}", f"wire.weights_port={free_ports[1]}",
    )  # fmt: skip
    yield made
    made.tmux("kill-server")
    made.process.kill()
    wait_for(lambda: not made.left(), "nobody is left running")


def test_killed_launcher_in_tmux_leaves_neither_processes_nor_panes(
    terminal: Terminal, tmp_path: Path
) -> None:
    wait_for(lambda: "learner   | " in terminal.pane("log"), "the log has the learner's lines")
    wait_for(lambda: "actor-0   | " in terminal.pane("log"), "the log has the actor's lines")
    assert "run in-tmux:" in terminal.pane("log")
    wait_for(lambda: "PickCube-v1" in terminal.pane("monitor"), "the monitor shows the run")
    wait_for(lambda: "running" in terminal.pane("monitor"), "the monitor knows that it runs")
    assert any("-m learner" in line for line in terminal.left())
    heights = terminal.heights()
    assert heights["monitor"] > 2 * heights["log"] >= 2 * 8, heights
    assert heights["monitor"] / sum(heights.values()) == pytest.approx(MONITOR_SHARE, abs=0.05)
    os.kill(terminal.supervisor(), signal.SIGKILL)
    shown = terminal.end()
    assert terminal.process.returncode == 1
    assert "the pane with the run's lines was killed" in shown
    assert terminal.tmux("list-panes") == ""
    wait_for(lambda: not terminal.left(), "nobody is left running", PATIENCE_S + 20)


def test_killed_terminal_leaves_the_run_to_be_seen_again_and_ended(terminal: Terminal) -> None:
    wait_for(lambda: "listening on" in terminal.pane("log"), "the learner listens")
    wait_for(lambda: "PickCube-v1" in terminal.pane("monitor"), "the monitor shows the run")
    terminal.process.kill()
    terminal.end()
    assert "listening on" in terminal.pane("log")
    # The monitor has the keys: it asks, and a second Ctrl-C says yes.
    terminal.tmux("send-keys", "-t", "run", "C-c")
    wait_for(lambda: "Stop run in-tmux?" in terminal.pane("monitor"), "the monitor asks")
    terminal.tmux("send-keys", "-t", "run", "C-c")
    wait_for(lambda: not terminal.left(), "everybody has ended")
