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


def usable() -> bool:
    """Whether a person sits at a terminal, there is a tmux, and this is not the session already."""
    return (
        sys.stdin.isatty()
        and sys.stdout.isatty()
        and os.environ.get("TERM", "dumb") != "dumb"
        and shutil.which("tmux") is not None
        and SOCKET_VARIABLE not in os.environ
    )


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
        self, supervisor: Sequence[str], panes: dict[str, Sequence[str]], side: tuple[str, Sequence[str]]
    ) -> None:
        """Run `supervisor` in the first pane, `panes` (title to command) below it, `side` on the right.
        Raises RuntimeError: tmux cannot start; with its own words."""
        size = shutil.get_terminal_size()
        first = self._tmux(
            "new-session", "-d", "-s", "run", "-x", str(size.columns), "-y", str(size.lines),
            "-P", "-F", "#{pane_id}", *supervisor,
            **{SOCKET_VARIABLE: self.socket},
        )  # fmt: skip
        if first.returncode:
            raise RuntimeError(f"tmux: {first.stderr.strip()}")
        top = first.stdout.strip()
        # The other panes only show: without the supervisor, even a killed one, they would stay for ever.
        its_end = f"#{{==:#{{hook_pane}},{top}}}"
        self._tmux("set-hook", "-g", "pane-exited", f"if-shell -F '{its_end}' kill-server")
        # From here on tmux may be gone at any time: a run that fails at once takes it along.
        self._tmux("set-option", "-g", "pane-border-status", "top")
        self._tmux("set-option", "-g", "pane-border-format", " #{pane_title} ")
        self._tmux("set-option", "-g", "mouse", "on")
        self._tmux("select-pane", "-t", top, "-T", "run (Ctrl-C ends it, Ctrl-B D detaches)")
        self._split(top, "-h", min(SIDE_COLUMNS, size.columns // 2), *side)
        above = top
        for left, (title, argv) in zip(range(len(panes), 0, -1), panes.items(), strict=True):
            above = self._split(above, "-v", size.lines * left // (len(panes) + 1), title, argv)
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


def panes_for(run_dir: Path, actor_logs: Sequence[str]) -> dict[str, Sequence[str]]:
    logs = run_dir / "logs"
    follow = ("tail", "-q", "-n", "200", "-F")
    return {
        "learner": (*follow, str(logs / "learner.log")),
        "actors": (*follow, *(str(logs / name) for name in actor_logs)),
        "evaluator": (*follow, str(logs / "evaluator.log")),
    }


def monitor_for(run_dir: Path) -> tuple[str, Sequence[str]]:
    return "monitor", (sys.executable, "-m", "launch", "monitor", str(run_dir), "--wait")
