"""Recorded actions and plans of one episode as a picture, one panel a dimension."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from launch.open_loop.measure import Plan


def draw(path: Path, recorded: Any, plans: Sequence[Plan]) -> None:
    """Write a PNG: `recorded` (T, A) in grey, each plan as a line from where it was made."""
    dims = recorded.shape[1]
    figure = Figure(figsize=(9, 1.6 * dims + 0.6), layout="constrained")
    panels = figure.subplots(dims, 1, sharex=True, squeeze=False)[:, 0]
    for dim, axes in enumerate(panels):
        axes.plot(recorded[:, dim], color="0.55", lw=2, label="recorded")
        for number, plan in enumerate(plans):
            frames = range(plan.frame, plan.frame + len(plan.recorded))
            label = "planned" if number == 0 else None
            axes.plot(frames, plan.predicted[: len(plan.recorded), dim], color="C0", lw=1, label=label)
        axes.set_ylabel(f"action {dim}")
    panels[0].legend(loc="upper right", fontsize="small")
    panels[-1].set_xlabel("frame")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=100)
