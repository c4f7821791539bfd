"""The table of runs, for people and as CSV."""

import csv
import shutil
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TextIO

from config.process import UsageError
from launch.run.folder import percent, wrapped
from launch.show.table.rows import Row, read_rows


def _time(row: Row, form: str) -> str | None:
    return None if row.started is None else time.strftime(form, time.localtime(row.started))


def _interval(row: Row) -> str:
    return "-" if row.low is None or row.high is None else f"{100 * row.low:.0f} to {100 * row.high:.0f}"


def _or_dash(value: object) -> str:
    return "-" if value is None else str(value)


# Heading -> how a row's cell reads.
COLUMNS: dict[str, Callable[[Row], str]] = {
    "time": lambda row: _or_dash(_time(row, "%Y-%m-%d %H:%M")),
    "name": lambda row: row.name,
    "state": lambda row: row.state,
    "task": lambda row: _or_dash(row.task),
    "algo": lambda row: _or_dash(row.algo),
    "seed": lambda row: _or_dash(row.seed),
    "base": lambda row: "-" if row.base is None else percent(row.base),
    "final": lambda row: "-" if row.final is None else percent(row.final),
    "interval": _interval,
    "frames": lambda row: "-" if row.frames is None else f"{row.frames:,}",
    "minutes": lambda row: "-" if row.minutes is None else f"{row.minutes:.1f}",
    "wandb": lambda row: _or_dash(row.wandb),
    "commit": lambda row: _or_dash(row.commit),
    "study": lambda row: _or_dash(row.study),
}
# What a narrow terminal does without, first to go first.
FIRST_TO_GO = ("study", "wandb", "algo", "commit", "time", "seed", "task", "minutes", "frames")
RIGHT = ("seed", "base", "final", "interval", "frames", "minutes")
# Of what differs from the defaults, below its row.
INDENT = 6


def show_runs(folder: Path, as_csv: bool) -> None:
    """Print a row for each run in `folder`, and a line on standard error for what cannot be read.
    Raises UsageError: there is no such folder."""
    if not folder.is_dir():
        raise UsageError(
            f"no folder {folder}: start a run with residual-rl run, or name the folder of your runs"
        )
    problems: list[str] = []
    rows = read_rows(folder, problems)
    if as_csv:
        write_csv(rows, sys.stdout)
    elif rows:
        columns = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
        write_table(rows, columns, sys.stdout)
    else:
        sys.stdout.write(f"no run in {folder}\n")
    sys.stdout.flush()
    sys.stderr.writelines(f"{problem}\n" for problem in problems)


def write_csv(rows: Sequence[Row], out: TextIO) -> None:
    """All fields as numbers and words, the start in local time; empty where something is not known."""
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(Row.__struct_fields__)
    for row in rows:
        values = {field: getattr(row, field) for field in Row.__struct_fields__}
        writer.writerow((values | {"started": _time(row, "%Y-%m-%d %H:%M:%S")}).values())


def write_table(rows: Sequence[Row], columns: int | None, out: TextIO) -> None:
    """A line each. In a terminal of `columns`, those that fit, and what differs from the defaults below it
    where there is no room beside it; None: all in one line."""
    cells = {heading: [cell(row) for row in rows] for heading, cell in COLUMNS.items()}
    widths = {heading: max(map(len, [heading, *column])) for heading, column in cells.items()}
    shown = list(widths) if columns is None else fitting(widths, columns)
    lines = [(_line({heading: heading for heading in shown}, widths), "differs from the defaults")]
    for number, row in enumerate(rows):
        lines.append((_line({heading: cells[heading][number] for heading in shown}, widths), row.differs))
    for line, differs in lines:
        beside = f"{line}  {differs}".rstrip()
        if columns is None or len(beside) <= columns or not differs:
            out.write(f"{beside}\n")
        else:
            out.write("\n".join([line.rstrip(), *wrapped(differs, " " * INDENT, columns)]) + "\n")
    if gone := [heading for heading in COLUMNS if heading not in shown]:
        text = f"({columns} columns have no room for {', '.join(gone)}; --csv has everything)"
        out.write("\n".join(wrapped(text, "", columns or len(text))) + "\n")


def _line(cells: Mapping[str, str], widths: Mapping[str, int]) -> str:
    return "  ".join(
        f"{text:>{widths[heading]}}" if heading in RIGHT else f"{text:<{widths[heading]}}"
        for heading, text in cells.items()
    )


def fitting(widths: dict[str, int], columns: int) -> list[str]:
    """The headings that fit beside each other."""
    shown = list(widths)
    for heading in FIRST_TO_GO:
        if sum(widths[each] + 2 for each in shown) <= columns + 2:
            break
        shown.remove(heading)
    return shown
