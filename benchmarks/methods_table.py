"""The table of benchmarks.methods: what each run reached, and after what."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from launch.study.plot import curve_of
from launch.study.records import LEVELS

FRAMES = (30_000, 60_000, 120_000)
COLUMNS = (
    "task", "method", "seed", "base", *(f"{frames // 1000} k" for frames in FRAMES),
    *(f"to {level:.0%}".replace("%", " %") for level in LEVELS), "lowest behaviour", "run",
)  # fmt: skip

Record = Mapping[str, Any]


def spent_file(record: Record | str, runs_dir: str) -> Path:
    """Where the processor seconds of a run are; a name, or the record of a run that is over."""
    name = record if isinstance(record, str) else record["name"]
    return Path(runs_dir) / name / "logs" / "processors.jsonl"


def read_spent(path: Path) -> list[tuple[int, float]]:
    """Frames and the processor seconds until then, ascending; none where nobody looked."""
    if not path.is_file():
        return []
    return [(frames, spent_s) for frames, spent_s in map(json.loads, path.read_text().splitlines())]


def success_at(record: Record, frames: int) -> float | None:
    """Of the full residual, straight between evaluations; None: the run ended before."""
    xs, ys = curve_of(dict(record), "frames")
    return float(np.interp(frames, xs, ys)) if xs[-1] >= frames else None


def spent_at(spent: Sequence[tuple[int, float]], frames: int) -> float | None:
    """Processor seconds until `frames`, straight between looks; None: nobody looked."""
    if not spent:
        return None
    xs, ys = np.array(spent, float).T
    return float(np.interp(frames, xs, ys))


def make_table(records: Sequence[Record], runs_dir: str) -> str:
    """One row a run, in Markdown."""
    rows = [_row(record, read_spent(spent_file(record, runs_dir))) for record in records]
    rule = ["---"] * len(COLUMNS)
    return "".join(f"| {' | '.join(cells)} |\n" for cells in (COLUMNS, rule, *rows))


def _row(record: Record, spent: Sequence[tuple[int, float]]) -> list[str]:
    lowest = record["lowest_behaviour"]
    return [
        record["task"],
        record["setting"],
        str(record["seed"]),
        _percent(record["base"] and record["base"]["success"]),
        *(_percent(success_at(record, frames)) for frames in FRAMES),
        *(_reached(record["to"][f"{level:.2f}"], spent) for level in LEVELS),
        "-" if lowest is None else f"{_percent(lowest['success'])} at {_thousands(lowest['frames'])}",
        f"`residual-rl run {record['command']} seed={record['seed']} learner.stop_at=null`",
    ]


def _reached(point: Record | None, spent: Sequence[tuple[int, float]]) -> str:
    if point is None:
        return "no"
    spent_s = spent_at(spent, point["frames"])
    processor = "" if spent_s is None else f", {spent_s:,.0f} s"
    return f"{_thousands(point['frames'])}, {_thousands(point['updates'])} updates{processor}"


def _percent(success: float | None) -> str:
    return "-" if success is None else f"{success:.0%}".replace("%", " %")


def _thousands(count: int) -> str:
    return f"{count / 1000:.0f} k"
