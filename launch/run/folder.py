"""Reading a run's folder: metrics and summary."""

import json
import shlex
import textwrap
from pathlib import Path
from typing import Any

import msgspec

from actor.policy.run_files import residual_place
from config.process import UsageError

Point = dict[str, Any]
ROOT = Path(__file__).resolve().parents[2]
"""The project: where its scripts, shipped bases and environments are."""
SETTINGS = ("launch.yaml", "config.yaml")
"""The files of which a run's folder has at least one."""
SUMMARY = "summary.json"
"""The file of which a run's folder has one once the run is over."""
# All other values of a point are numbers.
TEXTS = ("waiting_for", "goal_unit")
# Of the summary at a run's end: a terminal of 80 columns cuts no word of it.
COLUMNS = 78


def find_run(name: str) -> Path:
    """The folder of a run given by its name under runs/ or by its path; it need not exist yet.
    Raises UsageError: an empty name, or one that means two runs."""
    path, named = Path(name), Path("runs") / name
    if not name:
        raise UsageError("the name of a run is empty: name a folder under runs/")
    if "/" in name:
        return path
    if is_run(path) and is_run(named):
        raise UsageError(f"two runs are named {name}: name the folder, {named} or ./{name}")
    return path if path.is_dir() and not named.is_dir() else named


def name_of(run_dir: Path) -> str:
    """The word by which `find_run` finds the folder from here."""
    return run_dir.name if run_dir.parent == Path("runs") else str(run_dir)


def is_run(folder: Path) -> bool:
    """Whether a run was started in the folder."""
    return any((folder / name).is_file() for name in SETTINGS)


def require_run(run_dir: Path) -> None:
    """Raise UsageError if no run was ever started in the folder."""
    if not is_run(run_dir):
        lacks = ": it has neither launch.yaml nor config.yaml" if run_dir.is_dir() else ""
        raise UsageError(f"no run {run_dir}{lacks}: name a folder under runs/")


class MetricsReader:
    """Follows a metrics.jsonl that another process is writing."""

    def __init__(self, run_dir: Path) -> None:
        self.path = run_dir / "metrics.jsonl"
        self.damaged: list[str] = []
        """Why each line that is no point was left out, so far."""
        self._offset = 0

    def read(self) -> list[Point]:
        """Points written since the last call; a line without its end is left for the next one.
        Raises UsageError: a line that is no point."""
        points = self.read_good()
        if self.damaged:
            raise UsageError(f"{self.path} has a damaged line: {self.damaged[0]}")
        return points

    def read_good(self) -> list[Point]:
        """The same, without the damaged lines."""
        if not self.path.is_file():
            return []
        with self.path.open("rb") as file:
            if self._offset > file.seek(0, 2):
                self._offset = 0  # the run began again
            file.seek(self._offset)
            whole, newline, _ = file.read().rpartition(b"\n")
        self._offset += len(whole) + len(newline)
        points: list[Point] = []
        for line in filter(bytes.strip, whole.splitlines()):
            try:
                points.append(_read_point(line))
            except (ValueError, RecursionError) as error:
                self.damaged.append(str(error))
        return points


def _read_point(line: bytes) -> Point:
    """Each value a finite number, a text of TEXTS, or None. Raises ValueError: no JSON object."""
    point = json.loads(line)
    if not isinstance(point, dict):
        raise ValueError(f"{type(point).__name__} instead of an object")
    return {key: _suitable(key, value) for key, value in point.items()}


def _suitable(key: str, value: object) -> float | int | str | None:
    if key in TEXTS:
        return value if isinstance(value, str) else None
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return value if -(2**63) < value < 2**63 else None


class _Summary(msgspec.Struct):
    """Types of those entries of summary.json that are shown."""

    base_success: float | None = None
    final_success: float | None = None
    final_true_success: float | None = None
    final_false_success_share: float | None = None
    best_success: float | None = None
    best_episodes: int | None = None
    best_checkpoint: str | None = None
    evaluation_episodes: int | None = None
    stopped_early: str | None = None
    episodes: int | None = None
    frames: int | None = None
    updates: int | None = None
    wall_s: float | None = None
    collected_episodes: int | None = None
    collected_successes: int | None = None
    replay_episodes: int | None = None
    train_base_command: str | None = None
    lerobot_train_command: str | None = None


def read_summary(run_dir: Path, newer_than: float = 0.0) -> Point | None:
    """summary.json of a run that is over, else None; `newer_than` (epoch s) rules out an older one.
    Raises UsageError: it is damaged."""
    path = run_dir / SUMMARY
    if not path.is_file() or path.stat().st_mtime < newer_than:
        return None
    try:
        summary = json.loads(path.read_bytes(), parse_constant=lambda _: None)
        msgspec.convert(summary, _Summary)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{path} is damaged: {error}") from error
    return summary


def percent(value: float | None) -> str:
    """A success rate as people read it."""
    return "not measured" if value is None else f"{100 * value:.0f} %"


def count(value: float | None) -> str:
    """A count as people read it."""
    return "unknown" if value is None else f"{value:,.0f}"


def duration(seconds: float | None) -> str:
    """Seconds as h:mm:ss."""
    if seconds is None:
        return "unknown"
    minutes, s = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{s:02d}"


def places(run_dir: Path) -> dict[str, str]:
    """What of a run can be looked at, and where it is: report, films and best weights that are there."""
    best = residual_place(run_dir / "checkpoints", "best")
    named = {"report": run_dir / "report.html", "films": run_dir / "videos", "best weights": best}
    return {what: str(place) for what, place in named.items() if _has_content(place)}


def _has_content(place: Path) -> bool:
    """A host that draws nothing leaves the folder of films empty."""
    return any(place.iterdir()) if place.is_dir() else place.exists()


def _best(summary: Point, place: str | None) -> str:
    if summary.get("best_checkpoint") is None:
        return place or "not measured"
    success, episodes = percent(summary.get("best_success")), summary.get("best_episodes", "unknown")
    return f"{summary['best_checkpoint']} ({success} of {episodes} episodes)"


def summary_rows(run_dir: Path, summary: Point) -> dict[str, str]:
    """The final figures of a run and where its results are: what each is, and how it reads."""
    there = places(run_dir)
    if summary.get("collected_episodes") is not None:
        return _collected_rows(run_dir, summary, there.get("report"))
    rows = {
        "base success": percent(summary.get("base_success")),
        "final success": percent(summary.get("final_success")),
        "true success": _in_truth(summary),
        "evaluated over": f"{summary.get('evaluation_episodes', 'unknown')} episodes",
        "episodes": count(summary.get("episodes")),
        "frames": count(summary.get("frames")),
        "wall time": duration(summary.get("wall_s")),
        "ended early": summary.get("stopped_early"),
        "report": there.get("report"),
        "films": there.get("films"),
        "best weights": _best(summary, there.get("best weights")),
        "replay": str(run_dir / "replay"),
        "see an episode": f"bash launch/viz.sh {shlex.quote(name_of(run_dir))}",
    }
    return {what: text for what, text in rows.items() if text is not None}


def _collected_rows(run_dir: Path, summary: Point, report: str | None) -> dict[str, str]:
    """Of a run that has collected episodes: how many, where they are and what can be trained on them."""
    rows = {
        "collected": f"{count(summary['collected_episodes'])} episodes, "
        f"{count(summary.get('collected_successes'))} successful",
        "dataset": f"{run_dir / 'replay'} ({count(summary.get('replay_episodes'))} episodes)",
        "frames": count(summary.get("frames")),
        "wall time": duration(summary.get("wall_s")),
        "report": report,
        "train a base": summary.get("train_base_command"),
        "or any policy": summary.get("lerobot_train_command"),
        "see an episode": f"bash launch/viz.sh {shlex.quote(name_of(run_dir))}",
    }
    return {what: text for what, text in rows.items() if text is not None}


def describe_summary(run_dir: Path, summary: Point) -> str:
    """The lines that a person sees at a run's end."""
    lines = [f"run {run_dir.name} is over"]
    for what, text in summary_rows(run_dir, summary).items():
        lines += wrapped(text, f"  {what:<15} ", COLUMNS)
    return "\n".join(lines)


def _in_truth(summary: Point) -> str | None:
    """Of a run whose success a classifier says: what the simulator says."""
    if summary.get("final_true_success") is None:
        return None
    true, false = (percent(summary.get(f"final_{name}")) for name in ("true_success", "false_success_share"))
    return f"{true}; of the successes are false: {false}"


def wrapped(text: str, prefix: str, columns: int) -> list[str]:
    """Lines of at most `columns`, broken between words alone; the first begins with `prefix`, the others
    are indented as far. A word that does not fit is left whole."""
    return textwrap.wrap(
        text, max(columns, len(prefix) + 1), initial_indent=prefix, subsequent_indent=" " * len(prefix),
        break_long_words=False, break_on_hyphens=False,
    ) or [prefix.rstrip()]  # fmt: skip
