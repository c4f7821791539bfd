"""Why the training of a base in a run stopped at an update that was not finite: the windows in its batch."""

from dataclasses import dataclass
from pathlib import Path

from learner.algorithms.finite import NonFinite
from learner.base_training.sampler import DrawnWindows
from learner.report.non_finite import Batch, write_non_finite


@dataclass(frozen=True)
class WindowPlace:
    """Where a window is from."""

    source: str
    episode: int
    """Counts up in the source, from 0."""
    frame: int

    def __str__(self) -> str:
        return f"{self.source}, episode {self.episode}, frame {self.frame}"


def explain(step: NonFinite, drawn: DrawnWindows, folder: Path) -> str:
    """One line on what happened and what to do; writes non_finite.json into the folder of checkpoints."""
    fields = {"history": drawn.windows.history, "actions": drawn.windows.actions}
    try:
        origins = [WindowPlace(*place) for place in drawn.places]
        described = write_non_finite(folder, step, Batch(fields, origins))
    except OSError as error:
        described = f"the batch cannot be described ({error})"
    go_on = "from the last checkpoint" if (folder / "training.pt").exists() else "with the base of base.path"
    return (
        f"{step}; the step was not made, all weights are finite; {described}. Remove such data or, if they "
        f"are right, lower algo.lr; the same command then goes on {go_on}"
    )
