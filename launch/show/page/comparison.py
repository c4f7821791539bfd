"""The page of several runs: their curves over each other, how fast each was good, how they are set."""

import html
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

from config.files import replace_text
from config.process import UsageError
from launch.run.folder import count, require_run
from launch.show.page.charts import FROM_ZERO, PERCENT, Lines, evaluations_trace
from launch.show.page.model import Chart, Page, Table, Tile
from launch.show.page.record import Evaluated, Record, RecordReader
from launch.show.page.render import page_html
from launch.show.page.run_page import changed_of, percent, success_tile, task_of
from launch.show.settings import hydra_value

LEVELS = (0.5, 0.75, 0.9, 0.95)
GRID = 200
"""Points of a mean curve."""
BY_SETTINGS = "settings"
_COLOURS = ("#1f6fb4", "#d9772b", "#2a8f4d", "#b3366b", "#7458b5", "#8a6d1d", "#1b8a8f", "#6b7280")
# Where a run is and which one it is, not how it is set.
_PLACES = ("seed", "runs_dir", "wire.", "page.", "actor.spool", "actor.id", "actor.index")

Values = NDArray[np.float64]


@dataclass(frozen=True)
class Group:
    """Runs that count as one setting."""

    label: str
    runs: list[Record]
    colour: str


def write_comparison(folders: Sequence[Path], by: str | None, out: Path) -> Path:
    """Write the page of several runs. Raises UsageError: no such run, or no such setting."""
    for folder in folders:
        require_run(folder)
    labels = labels_of(folders)
    if len(labels) < 2:
        raise UsageError(f"{', '.join(map(str, folders))}: one run cannot be compared; name another one too")
    runs = {label: RecordReader(folder).read() for label, folder in labels.items()}
    replace_text(out, page_html(comparison_page(runs, by), None))
    return out


def comparison_page(runs: Mapping[str, Record], by: str | None) -> Page:
    """`runs`: by their labels.
    `by`: what runs of one group share: "settings", or the name of a key; None: each run is a group.
    Raises UsageError: a run has no such key."""
    differing = differing_settings(runs)
    groups = grouped(runs, differing, by)
    return Page(
        title=f"{len(runs)} runs",
        state=f"{', '.join(runs)}; mean and 95 % interval over seeds" if by else ", ".join(runs),
        tiles=[_tile(group) for group in groups],
        charts=[_success(groups), *_lines(groups)],
        tables=[_levels(runs, groups), _settings(runs, differing)],
        problems=[
            *_different_tasks(runs),
            *(f"{label}: {problem}" for label, run in runs.items() for problem in run.problems),
        ],
    )


def _different_tasks(runs: Mapping[str, Record]) -> Iterator[str]:
    tasks = dict.fromkeys(task for run in runs.values() if (task := task_of(run)))
    if len(tasks) > 1:
        yield f"the runs have different tasks, whose success is not the same thing: {', '.join(tasks)}"


def labels_of(folders: Sequence[Path]) -> dict[str, Path]:
    """Each run once, by its name, or by its folder where two have one name."""
    once = list({folder.resolve(): folder for folder in folders}.values())
    names = [folder.resolve().name for folder in once]
    return {
        name if names.count(name) == 1 else str(folder): folder
        for name, folder in zip(names, once, strict=True)
    }


def differing_settings(runs: Mapping[str, Record]) -> dict[str, dict[str, str]]:
    """Key -> the value that each run has for it, for keys that have several."""
    changed = {label: {each.key: each for each in changed_of(run)} for label, run in runs.items()}
    keys = dict.fromkeys(key for own in changed.values() for key in own)
    found: dict[str, dict[str, str]] = {}
    for key in keys:
        default = next(own[key].default for own in changed.values() if key in own)
        values = {
            label: hydra_value(own[key].value if key in own else default) for label, own in changed.items()
        }
        if len(set(values.values())) > 1:
            found[key] = values
    return found


def grouped(
    runs: Mapping[str, Record], differing: Mapping[str, Mapping[str, str]], by: str | None
) -> list[Group]:
    """The groups, in the order of their first runs. Raises UsageError: a run has no such key."""
    members: dict[str, list[Record]] = {}
    for label, run in runs.items():
        members.setdefault(_group_of(label, run, differing, by), []).append(run)
    return [
        Group(label, own, _COLOURS[index % len(_COLOURS)])
        for index, (label, own) in enumerate(members.items())
    ]


def _group_of(label: str, run: Record, differing: Mapping[str, Mapping[str, str]], by: str | None) -> str:
    if by is None:
        return label
    if by == BY_SETTINGS:
        own = [f"{key}={values[label]}" for key, values in differing.items() if not key.startswith(_PLACES)]
        return ", ".join(own) or "the same settings"
    value: Any = run.settings
    for key in by.split("."):
        if not isinstance(value, Mapping) or key not in value:
            raise UsageError(
                f"run {label} has no setting {by}: give --by {BY_SETTINGS}, or a key of its config.yaml"
            )
        value = value[key]
    return f"{by}={hydra_value(value)}"


def first_at(evaluations: Sequence[Evaluated], level: float) -> Evaluated | None:
    """The first evaluation that reached `level`. Before the first update the residual is nothing, and what is
    reached is the base's."""
    return next((each for each in evaluations if each.updates > 0 and each.rate >= level), None)


def mean_curve(runs: Sequence[Record], x: str) -> tuple[Values, Values, Values]:
    """x, mean and half of the 95 % interval (Student's t) over runs, straight between their evaluations, as
    far as all runs go. At 0 a run is its base.
    `x`: frames or minutes."""
    curves = [_curve(run, x) for run in runs]
    grid = np.linspace(0, min(xs[-1] for xs, _ in curves), GRID)
    values = np.stack([np.interp(grid, xs, ys) for xs, ys in curves])
    return grid, values.mean(0), np.array([_half_interval(column) for column in values.T])


def _curve(run: Record, x: str) -> tuple[Values, Values]:
    start = {0.0: run.base.rate} if run.base else {}
    points = start | {getattr(each, x): each.rate for each in run.full}
    xs, ys = np.array(sorted(points.items()), np.float64).T
    return xs, ys


def _half_interval(values: Sequence[float] | Values) -> float:
    """Of the mean of several values; 0 for a single one, of which no spread is known."""
    n = len(values)
    return 0.0 if n < 2 else float(stdtrit(n - 1, 0.975) * np.std(values, ddof=1) / np.sqrt(n))


def _tile(group: Group) -> Tile:
    finals = [run.full[-1].rate for run in group.runs if run.full]
    if len(group.runs) == 1:
        return success_tile(group.label, group.runs[0].full[-1] if finals else None)
    if not finals:
        return Tile(group.label, "not measured")
    mean, half = float(np.mean(finals)), _half_interval(finals)
    return Tile(group.label, percent(mean), f"{_between(mean, half)} (95 % interval), {len(finals)} runs")


def _between(mean: float, half: float) -> str:
    return f"{percent(max(0.0, mean - half))} to {percent(min(1.0, mean + half))}"


def _success(groups: Sequence[Group]) -> Chart:
    lines = Lines()
    for group in groups:
        measured = [run for run in group.runs if run.full]
        for run in measured:
            alone = len(group.runs) == 1
            trace = evaluations_trace(run.full, html.escape(group.label if alone else run.name), group.colour)
            if not alone:
                trace |= {
                    "opacity": 0.35,
                    "showlegend": False,
                    "mode": "lines",
                    "error_y": {"visible": False},
                }
            lines.put(trace, [each.frames for each in run.full], [each.minutes for each in run.full])
        if len(measured) > 1:
            _put_mean(lines, group, measured)
    note = (
        "Evaluations of base + residual over fixed seeds with their 95 % intervals; of a group, the mean "
        "over its runs with Student's 95 % interval."
    )
    return lines.chart("success", "Success", note, dict(PERCENT))


def _put_mean(lines: Lines, group: Group, runs: Sequence[Record]) -> None:
    """A band and the mean in it."""
    by_frames, by_minutes = mean_curve(runs, "frames"), mean_curve(runs, "minutes")
    hidden = {"mode": "lines", "line": {"width": 0}, "showlegend": False, "hoverinfo": "skip"}
    styles = (
        (-1, hidden),
        (1, hidden | {"fill": "tonexty", "fillcolor": f"{group.colour}33"}),
        (0, {"mode": "lines", "line": {"color": group.colour, "width": 3},
             "name": f"{html.escape(group.label)}, {len(runs)} runs"}),
    )  # fmt: skip
    for sign, style in styles:
        over = [
            {"x": xs.tolist(), "y": np.clip(mean + sign * half, 0, 1).tolist()}
            for xs, mean, half in (by_frames, by_minutes)
        ]
        lines.put_both({**style, **over[0]}, over[1])


def _lines(groups: Sequence[Group]) -> list[Chart]:
    """Figures of training, a line a run."""
    shown = (
        ("behaviour", "success_behaviour", "Behaviour of the actors",
         "Success of the last 100 training episodes.", PERCENT),
        ("residual", "residual_size", "Residual", "Mean size of the residual in a batch.", FROM_ZERO),
        ("speed", "frames_per_s", "Speed", "Frames per second since the point before.", FROM_ZERO),
    )  # fmt: skip
    charts = []
    for name, key, title, note, layout in shown:
        lines = Lines()
        for group in groups:
            for run in group.runs:
                label = group.label if len(group.runs) == 1 else f"{group.label}: {run.name}"
                style = {"line": {"color": group.colour, "width": 1.2}}
                lines.add(key, label, run.points, **style)
        charts.append(lines.chart(name, title, note, dict(layout)))
    return charts


def _levels(runs: Mapping[str, Record], groups: Sequence[Group]) -> Table:
    header = ("run", "base", "newest", *(f"to {percent(level)}" for level in LEVELS))
    rows = [_row(label, run) for label, run in runs.items()]
    rows += [_mean_row(group) for group in groups if len(group.runs) > 1]
    note = (
        "Frames and minutes of the weights of the first evaluation that reached the level. A mean is over "
        "the runs that reached it."
    )
    return Table("How fast", header, rows, note)


def _row(label: str, run: Record) -> tuple[str, ...]:
    reached = [first_at(run.full, level) for level in LEVELS]
    return (
        label,
        percent(run.base.rate) if run.base else "not measured",
        percent(run.full[-1].rate) if run.full else "not measured",
        *(_cost(each.frames, each.minutes) if each else "not reached" for each in reached),
    )


def _mean_row(group: Group) -> tuple[str, ...]:
    bases = [run.base.rate for run in group.runs if run.base]
    finals = [run.full[-1].rate for run in group.runs if run.full]
    cells = []
    for level in LEVELS:
        reached = [found for run in group.runs if (found := first_at(run.full, level))]
        cost = (
            _cost(*(float(np.mean([getattr(each, x) for each in reached])) for x in ("frames", "minutes")))
            if reached
            else ""
        )
        cells.append(f"{cost} ({len(reached)} of {len(group.runs)})".strip())
    means = [f"{percent(float(np.mean(rates)))}" if rates else "not measured" for rates in (bases, finals)]
    return (f"mean: {group.label}", *means, *cells)


def _cost(frames: float, minutes: float) -> str:
    return f"{count(frames)} frames, {minutes:.1f} min"


def _settings(runs: Mapping[str, Record], differing: Mapping[str, Mapping[str, str]]) -> Table:
    rows = [(key, *(values[label] for label in runs)) for key, values in differing.items()]
    note = "" if rows else "None."
    return Table("Settings in which they differ", ("key", *runs), rows, note)
