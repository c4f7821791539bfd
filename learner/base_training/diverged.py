"""Why a base's training stopped at an update that was not finite: the demonstrations in its batch."""

from collections.abc import Sequence
from dataclasses import dataclass

import msgspec
import numpy as np

from config.train_base import TrainBaseConfig
from learner.algorithms.finite import NonFinite
from learner.base_training.demonstrations import read_episodes
from learner.base_training.windows import Windows
from learner.report.non_finite import Batch, write_non_finite


@dataclass(frozen=True)
class WindowOrigin:
    """Where a window is from."""

    demonstrations: str
    episode: int
    """Counts up in the demonstrations, from 0."""
    frame: int
    """That its history begins with."""

    def __str__(self) -> str:
        return f"{self.demonstrations}, episode {self.episode}, frame {self.frame}"


def explain(step: NonFinite, windows: Sequence[int], data: Windows, settings: TrainBaseConfig) -> str:
    """One line on what happened and what to do; writes checkpoints/non_finite.json."""
    fields = {name: getattr(data, name)[list(windows)].cpu().numpy() for name in ("history", "actions")}
    try:
        batch = Batch(fields, _origins([data.place(window) for window in windows], settings))
        described = write_non_finite(settings.folder / "checkpoints", step, batch)
    except OSError as error:
        described = f"the batch cannot be described ({error})"
    return (
        f"{step}; the step was not made, all weights are finite; {described}. Mend such data, and the same "
        "command goes on from the last checkpoint; if they are right, give a lower lr and resume=new"
    )


def _origins(places: Sequence[tuple[int, int]], settings: TrainBaseConfig) -> list[WindowOrigin]:
    sources = settings.sources
    firsts = np.cumsum([0, *(_count(settings, source) for source in sources[:-1])])
    found = []
    for episode, frame in places:
        source = int(np.searchsorted(firsts, episode, side="right")) - 1
        found.append(WindowOrigin(sources[source], episode - int(firsts[source]), frame))
    return found


def _count(settings: TrainBaseConfig, source: str) -> int:
    return len(read_episodes(msgspec.structs.replace(settings, demos=source)))
