"""Batches of windows, drawn from sets of episodes that may grow between two draws."""

import json
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch

from learner.base_training.episodes import EpisodeSet, WindowArrays
from learner.ranks.ranks import Batch
from learner.replay.dataset.arrow import Array

# Batches whose windows are remembered: more than are drawn between two looks at what came of them.
REMEMBERED = 64


class DrawnWindows(NamedTuple):
    """A batch that was drawn, and where it is from."""

    windows: WindowArrays
    places: tuple[tuple[str, int, int], ...]
    """For each window the name of its set, the episode's number in it, and the frame in the episode."""


@dataclass(frozen=True)
class Source:
    """A set that batches are drawn from."""

    name: str
    episodes: EpisodeSet
    share: float
    """Of each batch, relative to the other sources that have windows."""


class WindowSampler:
    """Draws `batch_size` windows, a fixed number of them from each source; each source uniformly.
    With the same sets, the draw after `load_state` is the one that would have come after `state`."""

    def __init__(self, sources: Sequence[Source], batch_size: int, *, seed: int, device: str) -> None:
        self._sources, self._batch_size = tuple(sources), batch_size
        self._rng = np.random.default_rng(seed)
        self._device = torch.device(device)
        self._rows: deque[list[tuple[Source, Array]]] = deque(maxlen=REMEMBERED)

    def state(self) -> str:
        """Of the random draws, for `load_state` of another process."""
        return json.dumps(self._rng.bit_generator.state)

    def load_state(self, state: str) -> None:
        self._rng.bit_generator.state = json.loads(state)

    @property
    def windows(self) -> int:
        """In all sources together."""
        return sum(len(source.episodes) for source in self._sources)

    def next(self) -> Batch:
        """The fields of `WindowArrays` as tensors on the device.
        Raises ValueError: no source has a window."""
        rows = [
            (source, self._rng.integers(len(source.episodes), size=count))
            for source, count in zip(self._sources, self.counts(), strict=True)
            if count
        ]
        self._rows.append(rows)
        return {
            name: torch.from_numpy(part).to(self._device) for name, part in _joined(rows)._asdict().items()
        }

    def figures(self) -> dict[str, float]:
        """For metrics.jsonl: nothing beyond what an update says."""
        return {}

    def drawn(self, later: int) -> DrawnWindows:
        """The batch after which `later` more were drawn, less than `REMEMBERED`."""
        rows = self._rows[-1 - later]
        places = [
            (source.name, *source.episodes.place(row)) for source, some in rows for row in some.tolist()
        ]
        return DrawnWindows(_joined(rows), tuple(places))

    def counts(self) -> list[int]:
        """How many windows of a batch are from each source; a source without windows gives its share to the
        others. Raises ValueError: no source has a window."""
        shares = np.array([source.share if len(source.episodes) else 0.0 for source in self._sources])
        if not shares.sum() > 0:
            raise ValueError("no windows to draw from")
        ends = np.round(self._batch_size * shares.cumsum() / shares.sum()).astype(int)
        return np.diff(ends, prepend=0).tolist()


def _joined(rows: Sequence[tuple[Source, Array]]) -> WindowArrays:
    parts = [source.episodes.windows(some) for source, some in rows]
    return WindowArrays(*(np.concatenate(column) for column in zip(*parts, strict=True)))
