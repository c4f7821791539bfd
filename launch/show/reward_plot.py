"""Precision and recall of a success classifier, as a picture."""

from pathlib import Path

from matplotlib.ticker import PercentFormatter

from launch.show.figure import picture
from learner.rewards.report import Report


def plot_reward(report: Report, out: Path) -> None:
    """Both over the threshold, and against each other; the chosen threshold is marked."""
    curve = report.curve
    with picture(out, panels=2, width=10) as (over_threshold, against):
        for name, values in (("precision", curve.precision), ("recall", curve.recall)):
            over_threshold.plot(curve.thresholds, values, label=name)
        over_threshold.axvline(report.threshold, color="grey", linestyle=":", label="chosen threshold")
        over_threshold.set(xlabel="threshold", ylabel="share of frames", ylim=(0, 1.02), xlim=(0, 1))
        against.plot(curve.recall, curve.precision)
        against.plot([report.recall], [report.precision], "o", color="grey", label="chosen threshold")
        against.set(xlabel="recall", ylabel="precision", xlim=(0, 1.02), ylim=(0, 1.02))
        against.xaxis.set_major_formatter(PercentFormatter(1.0))
        for axes in (over_threshold, against):
            axes.yaxis.set_major_formatter(PercentFormatter(1.0))
            axes.grid(alpha=0.25)
            axes.legend(frameon=False, fontsize=9)
