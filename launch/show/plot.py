"""Success over frames as a picture: python -m launch.show.plot RUN [RUN ...] --out docs/success.png"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.backend_bases import FigureCanvasBase
from matplotlib.ticker import FuncFormatter, PercentFormatter

from launch.run.folder import MetricsReader, Point, find_run
from launch.show.intervals import wilson_interval

log = logging.getLogger("plot")


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
    """Raises FileNotFoundError where the run measured nothing yet."""
    points = MetricsReader(run_dir).read()
    if not points:
        raise FileNotFoundError(f"{run_dir}/metrics.jsonl has no point: is {run_dir.name} the name of a run?")
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
                      capsize=3, color=colour, label=f"{name}full residual (95 % interval)")  # fmt: skip
    if curve.base is not None:
        level = "0.35" if single else colour
        axes.axhspan(*wilson_interval(curve.base.rate, curve.base.episodes), color=level, alpha=0.1, lw=0)
        axes.axhline(curve.base.rate, color=level, ls="--", lw=1.2,
                     label=f"{name}base alone, {curve.base.rate:.0%}")  # fmt: skip


def draw(curves: Sequence[Curve], out: Path) -> None:
    """Write the picture; its folder is made if missing."""
    figure, axes = plt.subplots(figsize=(8, 4.5), layout="constrained")
    for index, curve in enumerate(curves):
        draw_curve(axes, curve, f"C{index}", single=len(curves) == 1)
    axes.set(xlabel="environment frames", ylabel="success", ylim=(0, 1.02))
    axes.set_xlim(left=0)
    axes.yaxis.set_major_formatter(PercentFormatter(1.0))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x / 1000:g} k" if x else "0"))
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=9, loc="best")
    out.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(out, dpi=150)
    plt.close(figure)


def picture(text: str) -> Path:
    """A file that matplotlib can write."""
    known = sorted(FigureCanvasBase.filetypes)
    if Path(text).suffix.removeprefix(".") not in known:
        raise argparse.ArgumentTypeError(f"{text!r} is no picture: its name must end in .{', .'.join(known)}")
    return Path(text)


def main(words: list[str]) -> int:
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    parser = argparse.ArgumentParser(prog="python -m launch.show.plot", description=__doc__)
    parser.add_argument("runs", nargs="+", help="names of runs under runs/, or their folders")
    parser.add_argument("--out", type=picture, required=True, help="the picture to write")
    args = parser.parse_args(words)
    try:
        draw([read_curve(find_run(run)) for run in args.runs], args.out)
    except FileNotFoundError as error:
        log.error("%s", error)
        return 1
    log.info("wrote %s", args.out)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
