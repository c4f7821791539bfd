"""Reading a run's folder: metrics and summary."""

import json
from pathlib import Path
from typing import Any

from config.process import UsageError

Point = dict[str, Any]
ROOT = Path(__file__).resolve().parents[2]
"""The project: where its scripts, shipped bases and environments are."""


def find_run(name: str) -> Path:
    """The folder of a run given by its name under runs/ or by its path; it need not exist yet.
    Raises UsageError: an empty name."""
    path, named = Path(name), Path("runs") / name
    if not name:
        raise UsageError("the name of a run is empty: name a folder under runs/")
    if len(path.parts) == 1 and named.is_dir():
        return named
    return path if path.is_dir() or len(path.parts) > 1 else named


class MetricsReader:
    """Follows a metrics.jsonl that another process is writing."""

    def __init__(self, run_dir: Path) -> None:
        self.path = run_dir / "metrics.jsonl"
        self._offset = 0
        self.began_again = False
        """Whether the last call found another file, shorter than what was read before."""

    def read(self) -> list[Point]:
        """Points written since the last call; a line without its end is left for the next one.
        Raises UsageError: a line that is no JSON."""
        try:
            return [json.loads(line) for line in self.lines() if line.strip()]
        except ValueError as error:
            raise UsageError(f"{self.path} has a damaged line: {error}") from error

    def lines(self) -> list[bytes]:
        """The same, as they are in the file."""
        self.began_again = False
        if not self.path.is_file():
            return []
        with self.path.open("rb") as file:
            self.began_again = self._offset > file.seek(0, 2)
            if self.began_again:
                self._offset = 0
            file.seek(self._offset)
            whole, newline, _ = file.read().rpartition(b"\n")
        self._offset += len(whole) + len(newline)
        return whole.splitlines()


def read_summary(run_dir: Path, newer_than: float = 0.0) -> Point | None:
    """summary.json of a run that is over, else None; `newer_than` (epoch s) rules out an older one.
    Raises UsageError: it is damaged."""
    path = run_dir / "summary.json"
    if not path.is_file() or path.stat().st_mtime < newer_than:
        return None
    try:
        return json.loads(path.read_text())
    except ValueError as error:
        raise UsageError(f"{path} is damaged: {error}") from error


def percent(value: float | None) -> str:
    """A success rate as people read it."""
    return "not measured" if value is None else f"{100 * value:.0f} %"


def duration(seconds: float | None) -> str:
    """Seconds as h:mm:ss."""
    if seconds is None:
        return "unknown"
    minutes, s = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{s:02d}"


def _best(summary: Point) -> str:
    if summary.get("best_checkpoint") is None:
        return "not measured"
    success, episodes = percent(summary["best_success"]), summary["best_episodes"]
    return f"{success} of {episodes} episodes: {summary['best_checkpoint']}"


def describe_summary(run_dir: Path, summary: Point) -> str:
    """The lines that a person sees at a run's end."""
    rows = [
        ("base success", percent(summary.get("base_success"))),
        ("final success", percent(summary.get("final_success"))),
        ("evaluated over", f"{summary.get('evaluation_episodes', 'unknown')} episodes"),
        ("best weights", _best(summary)),
        ("episodes", summary.get("episodes", "unknown")),
        ("frames", summary.get("frames", "unknown")),
        ("wall time", duration(summary.get("wall_s"))),
        ("replay", run_dir / "replay"),
        ("see an episode", summary.get("viz_command", f"bash launch/viz.sh {run_dir.name}")),
    ]
    if (report := run_dir / "report.html").is_file():
        rows.append(("report", report))
    if summary.get("stopped_early"):
        rows.insert(6, ("ended early", summary["stopped_early"]))
    return "\n".join([f"run {run_dir.name} is over", *(f"  {key:<15} {value}" for key, value in rows)])
