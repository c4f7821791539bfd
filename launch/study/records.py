"""What a run of a study showed: a line of JSON with its curves, and a row for people."""

import itertools
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from config.files import replace_text
from launch.run.folder import MetricsReader, Point, duration, read_summary
from learner.intervals import wilson_interval

LEVELS = (0.5, 0.75, 0.9)
# A behaviour this far below the base is one that a user would stop.
DIP = 0.15
BEHAVIOUR_WINDOW = 100
# What the learner waits for once the last update is done.
AFTER_TRAINING = "the final evaluation"

HEADING = "## Studies"
_PREFACE = (
    "Rows of `residual-rl study`. Wall seconds are those of training, from the first experience to the "
    "last update; interim evaluations run beside it in a process of their own and slow it, the final one "
    "comes after it; evaluation s is the time of all of them together. Lowest behaviour is the success of "
    "the last 100 training episodes, and how long it stayed over 15 points below the base. Frames and wall "
    "time to a level are those of the weights of the first evaluation of the full residual that reached it."
)
_HEADER = (
    "| time | run | seed | commit | frames | wall s | evaluation s | base | final | lowest behaviour "
    "| to 50 % | to 75 % | to 90 % |"
)
_RULE = "| --- " * 13 + "|"


def measure(run_dir: Path) -> dict[str, Any]:
    """Figures and curves of a run that is over, whole or not; None where nothing was measured.

    Success on fixed seeds is that of `base` and `full`; `behaviour` is that of the training episodes.
    """
    points = MetricsReader(run_dir).read()
    summary = read_summary(run_dir) or {}
    training = [p for p in points if "eval_version" not in p and p.get("waiting_for") != AFTER_TRAINING]
    last = training[-1] if training else {}
    base = _evaluations(points, "base")
    full = _evaluations(points, "full")
    behaviour = [_behaviour(point) for point in training if point.get("success_behaviour") is not None]
    final = full[-1] if summary and full else None
    return {
        "frames": summary.get("frames", last.get("frames")),
        "decisions": summary.get("decisions", last.get("decisions")),
        "updates": summary.get("updates", last.get("updates")),
        "wall_s": summary.get("wall_s", last.get("t_s")),
        "evaluation_s": round(sum(p["eval_wall_s"] for p in points if "eval_wall_s" in p), 1),
        "base": base[-1] if base else None,
        "final": final,
        "lowest_behaviour": min(behaviour, key=lambda b: b["success"], default=None),
        "dip_s": longest_dip(behaviour, base[-1]["success"]) if base else None,
        "to": {f"{level:.2f}": first_at(full, level) for level in LEVELS},
        "curves": {"full": full, "behaviour": behaviour},
    }


def _evaluations(points: Sequence[Point], policy: str) -> list[Point]:
    return [
        _measured(point, point[f"success_{policy}"], point["eval_episodes"])
        for point in points
        if point.get(f"success_{policy}") is not None and point.get("eval_episodes")
    ]


def _behaviour(point: Point) -> Point:
    return _measured(point, point["success_behaviour"], min(point["episodes"], BEHAVIOUR_WINDOW))


def _measured(point: Point, success: float, episodes: int) -> Point:
    low, high = wilson_interval(success, episodes)
    return {
        "frames": point.get("frames"),
        "decisions": point.get("decisions"),
        "updates": point.get("updates"),
        "wall_s": None if point.get("t_s") is None else round(point["t_s"], 1),
        "success": success,
        "low": round(low, 4),
        "high": round(high, 4),
        "episodes": episodes,
    }


def first_at(curve: Sequence[Point], level: float) -> Point | None:
    """The first evaluation that reached `level`, None where none did. Before the first update the residual
    is nothing, and what is reached is the base's."""
    found = next((p for p in curve if p["updates"] > 0 and p["success"] >= level), None)
    return found and {key: found[key] for key in ("frames", "decisions", "updates", "wall_s")}


def longest_dip(behaviour: Sequence[Point], base: float) -> float:
    """Seconds that behaviour stayed over 15 points below the base, at its worst, from point to point."""
    longest = 0.0
    for low, group in itertools.groupby(behaviour, key=lambda b: b["success"] < base - DIP):
        times = [b["wall_s"] for b in group]
        longest = max(longest, times[-1] - times[0]) if low else longest
    return round(longest, 1)


def read_records(path: Path) -> list[dict[str, Any]]:
    """All lines of a study's record; none where it does not exist yet."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.is_file() else []


def append_record(path: Path, entry: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        file.write(json.dumps(entry) + "\n")


def add_row(path: Path, entry: dict[str, Any]) -> None:
    """Add one row to the table under its heading, which is made at the end of the file if missing."""
    lines = path.read_text().splitlines() if path.is_file() else []
    if HEADING not in lines:
        lines += [*([""] if lines else []), HEADING, "", _PREFACE, "", _HEADER, _RULE]
    row = lines.index(_RULE, lines.index(HEADING)) + 1
    while row < len(lines) and lines[row].startswith("|"):
        row += 1
    lines.insert(row, make_row(entry))
    replace_text(path, "\n".join(lines) + "\n")


def make_row(entry: dict[str, Any]) -> str:
    """The row of one run; a run that did not finish says so in the place of its result."""
    final = _success(entry["final"]) if entry["status"] == "finished" else entry["status"].replace("|", "/")
    lowest = entry["lowest_behaviour"]
    dip = "" if lowest is None else f" at {_thousands(lowest['frames'])}, {entry['dip_s'] or 0:.0f} s below"
    cells = [
        entry["time"], f"{entry['setting']}: `{entry['command']}`", entry["seed"], entry["commit"],
        _thousands(entry["frames"]), _seconds(entry["wall_s"]), _seconds(entry["evaluation_s"]),
        _success(entry["base"]), final, _success(lowest, episodes=False) + dip,
        *(_reached(entry["to"][f"{level:.2f}"]) for level in LEVELS),
    ]  # fmt: skip
    return "| " + " | ".join(str(cell) for cell in cells) + " |"


def describe(entry: dict[str, Any]) -> str:
    base, final = _success(entry["base"]), _success(entry["final"])
    frames, wall = _thousands(entry["frames"]), duration(entry["wall_s"])
    return f"{entry['name']} {entry['status']}: base {base}, final {final}, {frames} frames in {wall}"


def _success(point: Point | None, episodes: bool = True) -> str:
    if point is None:
        return "-"
    over = f" ({point['episodes']})" if episodes else ""
    return f"{point['success']:.2f}".removeprefix("0") + over


def _thousands(count: int | None) -> str:
    return "-" if count is None else f"{count / 1000:.0f} k"


def _seconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.0f}"


def _reached(point: Point | None) -> str:
    return "no" if point is None else f"{_thousands(point['frames'])}, {_seconds(point['wall_s'])} s"
