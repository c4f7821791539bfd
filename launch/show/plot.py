"""Success of runs over frames as a picture."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from matplotlib.axes import Axes

from config.process import UsageError
from launch.run.folder import MetricsReader, Point, find_run
from launch.show.figure import finish_axes, picture
from learner.intervals import wilson_interval


@dataclass(frozen=True)
class Measured:
    """One evaluation: `rate` over `episodes` episodes after `frames` frames."""

    frames: int
    rate: float
    episodes: int


@dataclass(frozen=True)
class Curve:
    """What one run showed. `behaviour` is (frames, the learner's moving average)."""

    name: str
    behaviour: list[tuple[int, float]]
    full: list[Measured]
    base: Measured | None


def read_curve(run_dir: Path) -> Curve:
    """Raises UsageError where the run measured nothing yet."""
    points = MetricsReader(run_dir).read()
    if not points:
        raise UsageError(f"{run_dir}/metrics.jsonl has no point: is {run_dir.name} the name of a run?")
    behaviour = [
        (p["frames"], p["success_behaviour"]) for p in points if p.get("success_behaviour") is not None
    ]
    base = _measured(points, "success_base")
    return Curve(run_dir.name, behaviour, _measured(points, "success_full"), base[-1] if base else None)


def _measured(points: Sequence[Point], key: str) -> list[Measured]:
    return [
        Measured(p.get("frames") or 0, p[key], p["eval_episodes"])
        for p in points
        if p.get(key) is not None and p.get("eval_episodes")
    ]


def draw_curve(axes: Axes, curve: Curve, colour: str, single: bool) -> None:
    """Behaviour as a line, evaluations as points with their intervals, the base as a level."""
    name = "" if single else f"{curve.name}: "
    if curve.behaviour:
        axes.plot(*zip(*curve.behaviour, strict=True), color=colour, alpha=0.55, lw=1.4,
                  label=f"{name}behaviour while exploring")  # fmt: skip
    if curve.full:
        rates = [m.rate for m in curve.full]
        bounds = [wilson_interval(m.rate, m.episodes) for m in curve.full]
        errors = [
            [rate - low for rate, (low, _) in zip(rates, bounds, strict=True)],
            [high - rate for rate, (_, high) in zip(rates, bounds, strict=True)],
        ]
        axes.errorbar([m.frames for m in curve.full], rates, yerr=errors, fmt="o-", ms=5, lw=1.6,
                      capsize=3, color=colour, label=f"{name}trained policy (95 % interval)")  # fmt: skip
    if curve.base is not None:
        level = "0.35" if single else colour
        axes.axhspan(*wilson_interval(curve.base.rate, curve.base.episodes), color=level, alpha=0.1, lw=0)
        axes.axhline(curve.base.rate, color=level, ls="--", lw=1.2,
                     label=f"{name}base alone, {curve.base.rate:.0%}")  # fmt: skip


def draw(curves: Sequence[Curve], out: Path) -> None:
    with picture(out, panels=1, width=8) as [axes]:
        for index, curve in enumerate(curves):
            draw_curve(axes, curve, f"C{index}", single=len(curves) == 1)
        finish_axes(axes, "environment frames")


def plot_runs(names: Sequence[str], out: Path) -> None:
    """Draw the curves of these runs, each a name under runs/ or a folder.
    Raises UsageError: a run that measured nothing yet."""
    draw([read_curve(find_run(name)) for name in names], out)
