"""Success over frames in characters: evaluations as bars, training episodes as dots, the base as a line."""

import itertools
import operator
from collections.abc import Sequence

from rich.text import Text

from launch.run.folder import count
from launch.show.monitor.snapshot import Snapshot

_BARS = " ▁▂▃▄▅▆▇█"
_BASE, _DOT = "─", "•"
_FILL = "#2f7d4f"
_GUTTER = 5  # "100 %"
LEGEND = "█ evaluated  • training  ─ base"


def draw_success(snapshot: Snapshot, width: int, height: int) -> Text:
    """A chart of `height` lines; the last names the frames, from none to the newest point."""
    rows, columns = height - 1, width - _GUTTER - 1
    if rows < 1 or columns < len(LEGEND):
        return Text()
    last = _last_frames(snapshot)
    ends = [(column + 1) / columns * last for column in range(columns)]
    full = _held([(m.frames, m.success) for m in snapshot.full], ends)
    training = _held(snapshot.behaviour, ends)
    base = None if snapshot.base is None else snapshot.base.success
    lines = Text()
    for row in reversed(range(rows)):
        lines.append(f"{_label(row, rows, base):>{_GUTTER}} ", "dim")
        cells = [_cell(row, rows, bar, dot, base) for bar, dot in zip(full, training, strict=True)]
        for style, alike in itertools.groupby(cells, operator.itemgetter(1)):
            lines.append("".join(character for character, _ in alike), style)
        lines.append("\n")
    return lines.append_text(_axis(last, columns))


def _last_frames(snapshot: Snapshot) -> float:
    seen = [snapshot.figures.get("frames", 0.0), *(m.frames for m in snapshot.full)]
    return max(1.0, *seen)


def _held(points: Sequence[tuple[int, float]], ends: Sequence[float]) -> list[float | None]:
    """For each column's end the value of the last point up to there; None before the first."""
    values: list[float | None] = []
    ordered, newest, index = sorted(points), None, 0
    for end in ends:
        while index < len(ordered) and ordered[index][0] <= end:
            newest = ordered[index][1]
            index += 1
        values.append(newest)
    return values


def _row_of(value: float, rows: int) -> int:
    """Counted from below."""
    return max(0, min(rows - 1, int(value * rows)))


def _label(row: int, rows: int, base: float | None) -> str:
    if base is not None and row == _row_of(base, rows):
        return f"{100 * base:.0f} %"
    return "100 %" if row == rows - 1 else "0 %" if row == 0 else ""


def _cell(row: int, rows: int, bar: float | None, dot: float | None, base: float | None) -> tuple[str, str]:
    """(character, style)"""
    eighths = 0 if bar is None else max(0, min(8, round(8 * (bar * rows - row))))
    on_bar = f" on {_FILL}" if eighths == 8 else ""
    if dot is not None and row == _row_of(dot, rows):
        return _DOT, f"bold yellow{on_bar}"
    if base is not None and row == _row_of(base, rows):
        return _BASE, f"bright_red{on_bar}"
    return _BARS[eighths], _FILL


def _axis(last: float, columns: int) -> Text:
    end = f"{count(last)} frames"
    room = columns - len(end) - 1
    legend = LEGEND if len(LEGEND) < room else ""
    return Text(f"{'':{_GUTTER}} {legend:<{room}} {end}", "dim")
