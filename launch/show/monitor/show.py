"""The monitor's forms: in a terminal, once, as JSON, and line by line where the output is no terminal."""

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
from rich.console import Console, Group, RenderableType

from config.process import FailedError, UsageError
from launch.run.folder import COLUMNS, SETTINGS, describe_summary, read_summary, require_run
from launch.show.monitor import words
from launch.show.monitor.chart import draw_success
from launch.show.monitor.follower import Follower
from launch.show.monitor.snapshot import Snapshot

CHART_LINES = 9


def newest_run() -> Path:
    """The run under runs/ that was started last. Raises UsageError: there is none."""
    begun = [path for name in SETTINGS for path in Path("runs").glob(f"*/{name}") if path.is_file()]
    if not begun:
        raise UsageError("no run under runs/: name a run's folder, or start one with residual-rl run")
    return max(begun, key=lambda path: path.stat().st_mtime).parent


def show(run_dir: Path) -> None:
    """Show the run until the person leaves, or line by line until it ends.
    Raises UsageError: there is no such run. FailedError: it ended without a summary."""
    require_run(run_dir)
    # Textual draws on standard error.
    terminal = sys.stdout.isatty() and sys.stderr.isatty() and sys.stdin.isatty()
    if not terminal or os.environ.get("TERM", "dumb") == "dumb":
        follow(Follower(run_dir).look, _say)
    else:
        from launch.show.monitor.app import Monitor

        Monitor(run_dir).run()
    summary = read_summary(run_dir)
    if summary is not None:
        _say(describe_summary(run_dir, summary))


def show_once(run_dir: Path, as_json: bool) -> None:
    """Show the run as it is now. Raises UsageError: there is no such run."""
    require_run(run_dir)
    snapshot = Follower(run_dir).look()
    if as_json:
        _say(msgspec.json.encode(snapshot).decode())
        return
    console = Console(width=None if sys.stdout.isatty() else COLUMNS, highlight=False)
    console.print(_picture(snapshot, console.width))


def follow(look: Callable[[], Snapshot], say: Callable[[str], None], every_s: float = 1.0) -> None:
    """A line for each new point, until the run ends. Raises FailedError: it ended without a summary."""
    said = None
    while (snapshot := look()).state in ("starting", "running"):
        now = (snapshot.state, snapshot.figures.get("t_s"), len(snapshot.full), snapshot.base)
        if now != said:
            say(words.one_line(snapshot))
        said = now
        time.sleep(every_s)
    if snapshot.state == "not running":
        say(words.one_line(snapshot))
        raise FailedError(
            f"{snapshot.folder} is not running and has no summary: {words.go_on(snapshot)} goes on with it"
        )


def _picture(snapshot: Snapshot, columns: int) -> Group:
    parts: list[RenderableType | None] = [
        words.title(snapshot, columns),
        draw_success(snapshot, columns, CHART_LINES) if snapshot.full or snapshot.behaviour else None,
        words.facts(snapshot),
        words.actors(snapshot, columns),
        words.details(snapshot),
        words.warnings(snapshot, columns, len(snapshot.warnings) * 4) or None,
        words.logs(snapshot, columns, per_process=1) or None,
    ]
    return Group(*(part for part in parts if part is not None))


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()
