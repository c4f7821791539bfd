"""A run inside a tmux session of its own, so that it survives the terminal that started it."""

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

SOCKET_VARIABLE = "RESIDUAL_RL_TMUX"
"""Names the session's socket to the supervisor that runs inside."""
SIDE_COLUMNS = 44
# Of the supervisor's pane: it writes a line at the start and a few at the end.
SUPERVISOR_LINES = 3


def usable() -> bool:
    """Whether this is a person's terminal outside the session, and tmux is installed."""
    return (
        sys.stdin.isatty()
        and sys.stdout.isatty()
        and os.environ.get("TERM", "dumb") != "dumb"
        and shutil.which("tmux") is not None
        and SOCKET_VARIABLE not in os.environ
    )


@dataclass(frozen=True)
class Pane:
    """A pane below the supervisor's; `share` is its part of the height, relative to that of the others."""

    title: str
    argv: Sequence[str]
    share: int


@dataclass(frozen=True)
class Session:
    """One tmux server with one session; `socket` is its name (tmux -L)."""

    socket: str

    def _tmux(self, *argv: str, **env: str) -> subprocess.CompletedProcess[str]:
        inherited = {key: value for key, value in os.environ.items() if key != "TMUX"}
        return subprocess.run(
            ["tmux", "-L", self.socket, *argv], env={**inherited, **env}, capture_output=True, text=True
        )

    def start(
        self, supervisor: Sequence[str], panes: Sequence[Pane], side: tuple[str, Sequence[str]]
    ) -> None:
        """Run `supervisor` in the first pane, `panes` below it, `side` (title and command) on the right.
        Raises RuntimeError: tmux cannot start; with tmux's message."""
        size = shutil.get_terminal_size()
        lines = size.lines - 1  # tmux has a status line
        first = self._tmux(
            "new-session", "-d", "-s", "run", "-x", str(size.columns), "-y", str(lines),
            "-P", "-F", "#{pane_id}", *supervisor,
            **{SOCKET_VARIABLE: self.socket},
        )  # fmt: skip
        if first.returncode:
            raise RuntimeError(f"tmux: {first.stderr.strip()}")
        top = first.stdout.strip()
        # The other panes only show logs. When the supervisor ends, even killed, the session ends.
        its_end = f"#{{==:#{{hook_pane}},{top}}}"
        self._tmux("set-hook", "-g", "pane-exited", f"if-shell -F '{its_end}' kill-server")
        # From here on tmux may end at any time: a run that fails at once ends the session.
        self._tmux("set-option", "-g", "pane-border-status", "top")
        self._tmux("set-option", "-g", "pane-border-format", " #{pane_title} ")
        self._tmux("set-option", "-g", "mouse", "on")
        self._tmux("select-pane", "-t", top, "-T", "run (Ctrl-C ends it, Ctrl-B D detaches)")
        self._split(top, "-h", min(SIDE_COLUMNS, size.columns // 2), *side)
        above, left, shares = top, lines - SUPERVISOR_LINES, sum(pane.share for pane in panes)
        for pane in panes:
            above = self._split(above, "-v", left, pane.title, pane.argv)
            left -= left * pane.share // shares
            shares -= pane.share
        for event in ("client-attached", "client-resized"):
            # tmux divides another size evenly.
            self._tmux("set-hook", "-g", event, f"resize-pane -t {top} -y {SUPERVISOR_LINES}")
        self._tmux("select-pane", "-t", top)

    def _split(self, pane: str, direction: str, cells: int, title: str, argv: Sequence[str]) -> str:
        """A new pane of `cells` rows or columns out of `pane`; returns its id."""
        where = ("-t", pane, direction, "-l", str(cells), "-P", "-F", "#{pane_id}")
        new = self._tmux("split-window", *where, *argv).stdout.strip()
        self._tmux("select-pane", "-t", new, "-T", title)
        return new

    def attach(self) -> bool:
        """Show the session until it ends or the person detaches; True while it lives on."""
        inherited = {key: value for key, value in os.environ.items() if key != "TMUX"}
        subprocess.run(["tmux", "-L", self.socket, "attach-session"], env=inherited, stdout=None)
        return self._tmux("has-session").returncode == 0

    def kill(self) -> None:
        self._tmux("kill-server")


def panes_for(run_dir: Path, actor_logs: Sequence[str]) -> list[Pane]:
    """Panes that follow the logs of a run. Missing log files are made: tail complains about them."""

    def follow(title: str, names: Sequence[str], share: int) -> Pane:
        paths = [run_dir / "logs" / name for name in names]
        for path in paths:
            path.touch()
        return Pane(title, ("tail", "-q", "-n", "200", "-F", *map(str, paths)), share)

    return [
        follow("learner", ["learner.log"], share=2),
        follow("actors", actor_logs, share=1),
        follow("evaluator", ["evaluator.log"], share=1),
    ]


def monitor_for(run_dir: Path) -> tuple[str, Sequence[str]]:
    return "monitor", (sys.executable, "-m", "launch", "monitor", str(run_dir), "--wait")
