"""A run in its own tmux session: it continues when the terminal that started it is closed."""

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass

SOCKET_VARIABLE = "RESIDUAL_RL_TMUX"
"""Environment variable that tells the supervisor inside the session the name of its socket."""
# Of the height: the monitor's part.
MONITOR_SHARE = 0.72


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
class Session:
    """One tmux server with one session; `socket` is its name (tmux -L)."""

    socket: str

    def _tmux(self, *argv: str, **env: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["tmux", "-L", self.socket, *argv], env={**_environment(), **env}, capture_output=True, text=True
        )

    def start(self, supervisor: Sequence[str], monitor: Sequence[str]) -> None:
        """Run `supervisor`, which prints the lines of all processes, and `monitor` above it.
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
        below = first.stdout.strip()
        # When the supervisor ends, even killed, the session ends.
        its_end = f"#{{==:#{{hook_pane}},{below}}}"
        self._tmux("set-hook", "-g", "pane-exited", f"if-shell -F '{its_end}' kill-server")
        # From here on tmux may end at any time: a run that fails at once ends the session.
        self._tmux("set-option", "-g", "pane-border-status", "top")
        self._tmux("set-option", "-g", "pane-border-format", " #{pane_title} ")
        self._tmux("set-option", "-g", "mouse", "on")
        self._tmux("set-option", "-g", "status-right", "")
        self._tmux("select-pane", "-t", below, "-T", "log (Ctrl-C ends the run, Ctrl-B D detaches)")
        above = self._tmux(
            "split-window", "-t", below, "-v", "-b", "-l", str(int(lines * MONITOR_SHARE)),
            "-P", "-F", "#{pane_id}", *monitor,
        )  # fmt: skip
        top = above.stdout.strip()
        self._tmux("select-pane", "-t", top, "-T", "monitor")
        for event in ("client-attached", "client-resized"):
            # tmux divides another size evenly.
            share = f"resize-pane -t {top} -y {MONITOR_SHARE:.0%}"
            self._tmux("set-hook", "-g", event, f"if-shell -F '#{{==:#{{window_panes}},2}}' '{share}'")

    def attach(self) -> bool:
        """Show the session until it ends or the person detaches; True if it still runs."""
        subprocess.run(["tmux", "-L", self.socket, "attach-session"], env=_environment(), stdout=None)
        return self._tmux("has-session").returncode == 0

    def kill(self) -> None:
        self._tmux("kill-server")


def _environment() -> dict[str, str]:
    """Without what is true of this terminal alone: a pane has a size of its own."""
    return {key: value for key, value in os.environ.items() if key not in ("TMUX", "COLUMNS", "LINES")}
