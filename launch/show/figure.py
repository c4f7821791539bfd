"""What all pictures of success share: their axes, and how they are written."""

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.backend_bases import FigureCanvasBase
from matplotlib.ticker import FuncFormatter, PercentFormatter

from config.process import UsageError


@contextmanager
def picture(out: Path, panels: int, width: float) -> Generator[list[Axes]]:
    """Panels side by side to draw in, written to `out` afterwards; its folder is made if missing."""
    figure, axes = plt.subplots(1, panels, figsize=(width, 4.5), layout="constrained", squeeze=False)
    yield list(axes[0])
    out.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(out, dpi=150)
    plt.close(figure)


def finish_axes(axes: Axes, xlabel: str, *, thousands: bool = True) -> None:
    """Success from 0 to 100 % over x from 0, with a legend. `thousands`: x reads 10 k."""
    axes.set(xlabel=xlabel, ylabel="success", ylim=(0, 1.02))
    axes.set_xlim(left=0)
    axes.yaxis.set_major_formatter(PercentFormatter(1.0))
    if thousands:
        axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x / 1000:g} k" if x else "0"))
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=9, loc="best")


def require_picture(path: Path) -> None:
    """Raise UsageError unless matplotlib can write such a file."""
    known = sorted(FigureCanvasBase.filetypes)
    if path.suffix.removeprefix(".") not in known:
        raise UsageError(f"{path} is no picture: its name must end in .{', .'.join(known)}")
