"""The monitor in a real tmux, driven by keys and read from the screen."""

import io
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from rich.console import Console

from launch.run.folder import describe_summary, read_summary
from launch.show.monitor import words
from launch.show.monitor.chart import LEGEND
from launch.show.monitor.follower import Follower
from tests.support.watched_run import (
    FINISHED,
    add_points,
    add_results,
    newest_point,
    start_launcher,
    unfinished_run,
)

pytestmark = [
    pytest.mark.timeout(400),
    pytest.mark.skipif(shutil.which("tmux") is None, reason="no tmux here"),
]

# It takes about a second; nothing depends on how long a busy machine takes.
TIMEOUT_S = 90.0
ROOT = Path(__file__).resolve().parents[2]
MIDDLE = 20


class Screen:
    """A tmux of its own, of one pane."""

    def __init__(self, folder: Path, columns: int, lines: int, *command: str) -> None:
        self._environment = {
            **os.environ,
            "TMUX_TMPDIR": str(folder),
            "TERM": "xterm-256color",
            "PYTHONPATH": str(ROOT),
        }
        self._environment.pop("TMUX", None)
        self.tmux("start-server", ";", "set-option", "-g", "remain-on-exit", "on", ";",
                  "new-session", "-d", "-x", str(columns), "-y", str(lines), *command)  # fmt: skip

    def tmux(self, *words: str) -> str:
        command = ["tmux", "-L", "residual-rl-monitor", *words]
        return subprocess.run(command, env=self._environment, capture_output=True, text=True).stdout

    def press(self, *keys: str) -> None:
        self.tmux("send-keys", *keys)

    def shown(self) -> list[str]:
        """With what has left the screen at its top."""
        return self.tmux("capture-pane", "-p", "-S", "-").splitlines()

    def wait_for(self, *texts: str) -> list[str]:
        """The lines, once they have all of `texts`, wherever lines are broken."""
        deadline_s = time.monotonic() + TIMEOUT_S
        while any(text not in " ".join(" ".join(lines := self.shown()).split()) for text in texts):
            assert time.monotonic() < deadline_s, (texts, lines)
            time.sleep(0.1)
        return lines


@pytest.fixture
def screens(tmp_path: Path) -> Iterator[Callable[..., Screen]]:
    made: list[Screen] = []

    def make(columns: int, lines: int, *command: str) -> Screen:
        made.append(Screen(tmp_path, columns, lines, *command))
        return made[-1]

    yield make
    for screen in made:
        screen.tmux("kill-server")


def whole_words(run_dir: Path) -> set[str]:
    """All words that the monitor may show of a run."""
    snapshot = Follower(run_dir).look()
    console = Console(file=io.StringIO(), width=10_000, record=True)
    for part in (words.title(snapshot, 1000), words.facts(snapshot), words.details(snapshot), LEGEND):
        console.print(part, markup=False, highlight=False)
    logs = [line for name, lines in snapshot.logs.items() for line in (name, *lines)]
    return set(" ".join([console.export_text(), *logs, *snapshot.warnings]).split())


def assert_no_word_is_cut(lines: list[str], run_dir: Path, note: str = "") -> None:
    """But in the chart, and with figures that change from one look to the next."""
    known = whole_words(run_dir) | set(f"… ! l logs s stop the run q leave {note}".split())
    shown = {word for line in lines for word in line.split() if any(map(str.isalpha, word))}
    assert shown - known == set()


@pytest.mark.parametrize(("columns", "height"), [(80, 24), (200, 60)])
def test_it_shows_what_happens_and_at_the_end_where_everything_is(
    columns: int, height: int, tmp_path: Path, repository: Path, screens: Callable[..., Screen],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    run_dir = unfinished_run(Path("runs/watched"), MIDDLE)
    os.utime(run_dir / "metrics.jsonl", (time.time() + 5,) * 2)
    launcher = start_launcher(run_dir, repository)
    screen = screens(columns, height, sys.executable, "-m", "launch", "monitor", "watched")
    try:
        frames = f"{newest_point(run_dir)['frames']:,} of 360,000"
        lines = screen.wait_for("watched", "running", frames, "base 42 % (33 to 52, 100 episodes)", "q leave")
        assert_no_word_is_cut(lines, run_dir)
        add_points(run_dir, MIDDLE)
        last = newest_point(run_dir)
        lines = screen.wait_for(f"{last['frames']:,} of 360,000", f"{last['updates']:,} updates", "now 99 %")
        assert_no_word_is_cut(lines, run_dir)
        screen.press("l")
        screen.wait_for("learner", "actor-0", "evaluator", "back")
        screen.press("q")
        screen.wait_for("q leave", "now 99 %")
        screen.press("s")
        screen.wait_for("Stop run watched?")
        screen.press("y")
        assert launcher.wait(TIMEOUT_S) == 130
        screen.wait_for("not running", "residual-rl run name=watched")
    finally:
        launcher.kill()
        launcher.communicate()
    add_results(run_dir)
    shutil.copy(FINISHED / "summary.json", run_dir)
    lines = screen.wait_for(
        "over", "final success 99 %", "report runs/watched/report.html", "films runs/watched/videos"
    )
    asked = f"asked process {launcher.pid} to end the run; it saves a checkpoint first"
    assert_no_word_is_cut(lines, run_dir, note=asked)
    screen.press("q")
    summary = read_summary(run_dir)
    assert summary is not None
    left = screen.wait_for("run watched is over")
    assert [line.rstrip() for line in left if line][:10] == describe_summary(run_dir, summary).splitlines()[
        :10
    ]
