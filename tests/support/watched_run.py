"""Copies of a real run's folder, whole or as it was in the middle."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

FINISHED = Path(__file__).resolve().parents[1] / "data" / "finished_run"
"""A run of PickCube-v1 that ended by itself: settings, every sixth point, all evaluations, logs, summary."""

# What a launcher does with its lock, and Ctrl-C with a launcher.
_HOLDER = """
import signal, sys
from pathlib import Path
from config.files import locked, name_holder
signal.signal(signal.SIGINT, lambda *_: sys.exit(130))
place = Path(sys.argv[1])
place.touch()
with locked(place, RuntimeError("taken")):
    name_holder(place)
    print("locked", flush=True)
    sys.stdin.read()
"""


def finished_run(place: Path) -> Path:
    """The whole run, with what later steps add: report, films, best weights."""
    shutil.copytree(FINISHED, place)
    add_results(place)
    return place


def unfinished_run(place: Path, points: int) -> Path:
    """The run after its first points."""
    shutil.copytree(FINISHED, place, ignore=shutil.ignore_patterns("summary.json", "metrics.jsonl"))
    add_points(place, 0, points)
    return place


def lines() -> list[str]:
    """Of the whole run's metrics.jsonl."""
    return (FINISHED / "metrics.jsonl").read_text().splitlines(keepends=True)


def add_points(run_dir: Path, start: int, end: int | None = None) -> None:
    """What the learner wrote next."""
    with (run_dir / "metrics.jsonl").open("a") as file:
        file.writelines(lines()[start:end])


def add_results(run_dir: Path) -> None:
    """Where report, films and best weights are."""
    (run_dir / "report.html").touch()
    (run_dir / "videos").mkdir()
    (run_dir / "videos/corrected-seed-1.mp4").touch()
    (run_dir / "checkpoints").mkdir(exist_ok=True)
    (run_dir / "checkpoints/best.safetensors").touch()


def points_of(run_dir: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]


def newest_point(run_dir: Path) -> dict[str, Any]:
    """The last one that is no evaluation."""
    return [point for point in points_of(run_dir) if "eval_version" not in point][-1]


def start_launcher(run_dir: Path, repository: Path) -> subprocess.Popen[str]:
    """A process that has the run locked as its launcher has; SIGINT ends it with exit code 130."""
    process = subprocess.Popen(
        [sys.executable, "-c", _HOLDER, str(run_dir.resolve() / "launch.lock")],
        cwd=repository, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None and process.stdout.readline() == "locked\n"
    return process
