"""A live table of a run."""

import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.table import Table

from config.process import UsageError
from launch.run.folder import (
    MetricsReader,
    Point,
    describe_summary,
    duration,
    percent,
    read_summary,
)


def _count(value: Any) -> str:
    return f"{value:,.0f}".replace(",", " ")


# Key of a point -> the row's label and how its value reads.
ROWS = {
    "t_s": ("running for", duration),
    "waiting_for": ("waiting for", str),
    "actors": ("actors", _count),
    "frames": ("frames", _count),
    "decisions": ("decisions", _count),
    "updates": ("updates", _count),
    "episodes": ("episodes", _count),
    "success_base": ("success: base", percent),
    "success_behaviour": ("success: behaviour", percent),
    "success_full": ("success: full residual", percent),
    "frames_per_s": ("frames/s", "{:.0f}".format),
    "updates_per_s": ("updates/s", "{:.1f}".format),
    "version": ("weights version", _count),
    "policy_lag": ("policy lag, versions", "{:.1f}".format),
    "queue_rows": ("queue, rows", _count),
    "mask_probability": ("mask probability", "{:.2f}".format),
    "disk_mb": ("disk, MB", "{:.1f}".format),
}
LOSS_PREFIXES = ("loss/", "q_")


class Newest:
    """The last known value of each key; what it waits for holds for the newest point alone."""

    def __init__(self) -> None:
        self.values: Point = {}

    def add(self, points: Iterable[Point]) -> None:
        for point in points:
            if "eval_version" in point:
                # Its counts are those of the weights that were evaluated, long ago.
                point = {key: value for key, value in point.items() if key.startswith("success_")}
            if "waiting_for" in point:
                self.values.pop("waiting_for", None)
            self.values.update({key: value for key, value in point.items() if value is not None})


def make_table(title: str, values: Mapping[str, Any]) -> Table:
    """One row for each known figure that was measured."""
    table = Table(title=title, title_justify="left", show_header=False, expand=False)
    table.add_column(style="cyan", no_wrap=True)
    table.add_column(justify="right")
    for key, (label, shown) in ROWS.items():
        if key in values:
            table.add_row(label, shown(values[key]))
    for key, value in sorted(values.items()):
        if key.startswith(LOSS_PREFIXES):
            table.add_row(key, f"{value:.4g}")
    return table


def show_once(run_dir: Path, console: Console) -> None:
    newest = Newest()
    newest.add(MetricsReader(run_dir).read())
    console.print(_view(run_dir, newest))


def follow(run_dir: Path, console: Console, newer_than: float, refresh_s: float = 1.0) -> None:
    """Show the run until it has a summary from after `newer_than` (epoch s)."""
    reader, newest = MetricsReader(run_dir), Newest()
    with Live(console=console, auto_refresh=False, screen=False) as live:
        while (summary := read_summary(run_dir, newer_than)) is None:
            newest.add(reader.read())
            live.update(_view(run_dir, newest), refresh=True)
            time.sleep(refresh_s)
        newest.add(reader.read())
        live.update(_view(run_dir, newest), refresh=True)
    console.print(describe_summary(run_dir, summary))


def _view(run_dir: Path, newest: Newest) -> Table | str:
    return (
        make_table(run_dir.name, newest.values) if newest.values else f"waiting for {run_dir}/metrics.jsonl"
    )


def show(run_dir: Path, *, once: bool, wait: bool) -> None:
    """Show a run's table once, or until the run ends.

    Args:
        wait: the run is about to start, or starts again: an older summary does not count.

    Raises UsageError: there is no such run."""
    if not wait and not any((run_dir / name).exists() for name in ("launch.yaml", "config.yaml")):
        raise UsageError(f"no run {run_dir}: name a folder under runs/")
    if once:
        show_once(run_dir, Console())
    else:
        follow(run_dir, Console(), newer_than=time.time() if wait else 0.0)
