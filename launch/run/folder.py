"""Reading a run's folder: metrics and summary."""

import json
from pathlib import Path
from typing import Any

Point = dict[str, Any]
ROOT = Path(__file__).resolve().parents[2]
"""The project: where its scripts, shipped bases and environments are."""


def find_run(name: str) -> Path:
    """The folder of a run given by its path or by its name under runs/; it need not exist yet."""
    path = Path(name)
    return path if path.is_dir() or len(path.parts) > 1 else Path("runs") / name


class MetricsReader:
    """Follows a metrics.jsonl that another process is writing."""

    def __init__(self, run_dir: Path) -> None:
        self.path = run_dir / "metrics.jsonl"
        self._offset = 0

    def read(self) -> list[Point]:
        """Points written since the last call; a line without its end is left for the next one."""
        if not self.path.is_file():
            return []
        with self.path.open("rb") as file:
            if self._offset > file.seek(0, 2):
                self._offset = 0  # the run began again
            file.seek(self._offset)
            whole, newline, _ = file.read().rpartition(b"\n")
        self._offset += len(whole) + len(newline)
        return [json.loads(line) for line in whole.splitlines() if line.strip()]


def read_summary(run_dir: Path, newer_than: float = 0.0) -> Point | None:
    """summary.json of a run that is over, else None; `newer_than` (epoch s) rules out an older one."""
    path = run_dir / "summary.json"
    if not path.is_file() or path.stat().st_mtime < newer_than:
        return None
    return json.loads(path.read_text())


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
    if summary.get("stopped_early"):
        rows.insert(6, ("ended early", summary["stopped_early"]))
    return "\n".join([f"run {run_dir.name} is over", *(f"  {key:<15} {value}" for key, value in rows)])
