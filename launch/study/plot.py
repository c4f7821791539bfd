"""Success of a study's settings, mean and range over seeds, one panel a task."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from config.process import UsageError
from launch.show.figure import finish_axes, picture
from launch.study.records import read_records


class RecordError(UsageError):
    """A record that cannot be drawn, and why, in one line."""


POINTS = 200
PER = {"frames": 1, "decisions": 1, "wall_s": 60}
LABELS = {"frames": "environment frames", "decisions": "decisions", "wall_s": "training, minutes"}


def newest_runs(records: Sequence[dict[str, Any]]) -> dict[tuple[str, str], list[dict[str, Any]]]:
    """(task, setting) -> the newest run of each seed that measured its base and its residual."""
    newest = {
        (r["task"], r["setting"], r["seed"]): r
        for r in records
        if r["base"] is not None and r["curves"]["full"]
    }
    runs: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for (task, setting, _), record in newest.items():
        runs.setdefault((task, setting), []).append(record)
    return runs


def curve_of(record: dict[str, Any], x: str) -> tuple[np.ndarray, np.ndarray]:
    """One run's full residual, which is the base before the first update; x ascending, time in minutes.

    A learner that is behind makes many updates at the same frames: of two evaluations there the later counts.
    """
    points = {0.0: record["base"]["success"]}
    points |= {point[x]: point["success"] for point in record["curves"]["full"]}
    xs, ys = np.array(sorted(points.items()), float).T
    return xs / PER[x], ys


def mean_and_range(
    curves: Sequence[tuple[np.ndarray, np.ndarray]],
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """x, mean, lowest and highest over the curves, straight between points, as far as all of them go."""
    grid = np.linspace(0, min(xs[-1] for xs, _ in curves), POINTS)
    values = np.stack([np.interp(grid, xs, ys) for xs, ys in curves])
    return grid, values.mean(0), values.min(0), values.max(0)


def draw_task(axes: Axes, runs: dict[str, list[dict[str, Any]]], x: str) -> None:
    """One line and one band a setting; the base as a level, that of most settings: one may have another."""
    base = float(np.median([record["base"]["success"] for records in runs.values() for record in records]))
    axes.axhline(base, color="0.35", ls="--", lw=1.2, label=f"base alone, {base:.0%}")
    for index, (setting, records) in enumerate(runs.items()):
        grid, mean, low, high = mean_and_range([curve_of(record, x) for record in records])
        axes.fill_between(grid, low, high, color=f"C{index}", alpha=0.2, lw=0)
        axes.plot(grid, mean, color=f"C{index}", lw=1.8, label=f"{setting}, seeds: {len(records)}")
    finish_axes(axes, LABELS[x], thousands=x != "wall_s")


def draw(runs: dict[tuple[str, str], list[dict[str, Any]]], x: str, out: Path) -> None:
    """Write the picture, one panel a task."""
    tasks = list(dict.fromkeys(task for task, _ in runs))
    with picture(out, len(tasks), width=8 if len(tasks) == 1 else 5 * len(tasks)) as panels:
        for axes, task in zip(panels, tasks, strict=True):
            draw_task(axes, {setting: r for (t, setting), r in runs.items() if t == task}, x)
            if len(tasks) > 1:
                axes.set_title(task)


def choose(record: Path, settings: Sequence[str]) -> dict[tuple[str, str], list[dict[str, Any]]]:
    """The newest runs of a record, of these settings in this order, or of all.
    Raises RecordError: the file is no record, or has no such run."""
    try:
        runs = newest_runs(read_records(record))
    except (ValueError, KeyError, TypeError) as error:
        raise RecordError(f"{record} is no record of residual-rl study: {error!r}") from error
    if settings:
        chosen = [key for key in runs if key[1] in settings]
        runs = {key: runs[key] for key in sorted(chosen, key=lambda key: settings.index(key[1]))}
    if not runs:
        raise RecordError(f"{record} holds no such run with a base and an evaluation")
    return runs


def plot_study(record: Path, out: Path, settings: Sequence[str], x: str) -> None:
    """Draw the runs of a study's record. Raises RecordError: see `choose`."""
    draw(choose(record, settings), x, out)
