"""How the episodes of a dataset went, from its metadata alone."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import pyarrow as pa

from learner.replay.dataset.arrow import column_names, read_parquet, values, why_unreadable
from learner.replay.dataset.format.layout import INFO_PATH, ORIGIN_PATH, parquet_files
from learner.replay.dataset.read import BrokenError, read_json

_SUCCESS, _REWARD, _VERSION = "stats/next.success/max", "stats/next.reward/mean", "stats/weights_version/min"
_ACTOR = "stats/actor/min"
_NAMES = ("episode_index", "length", "dataset_from_index", "dataset_to_index",
          _SUCCESS, _REWARD, _VERSION, _ACTOR)  # fmt: skip


@dataclass(frozen=True)
class EpisodeOutcome:
    """How one episode of the dataset went; None is what the dataset does not say."""

    episode: int
    frames: int
    success: bool | None
    total_reward: float | None
    version: int | None = None
    """Of the weights that its first decision came from."""
    actor: str | None = None
    """Who played it."""


def read_outcomes(folder: Path) -> list[EpisodeOutcome]:
    """The committed episodes in order, as far as the dataset describes them.
    Raises BrokenError: nothing was committed to `folder`, or its description cannot be read."""
    total = read_json(folder, INFO_PATH).get("total_episodes")
    names = _actor_names(folder)
    outcomes: list[EpisodeOutcome] = []
    for path in parquet_files(folder / "meta/episodes"):
        try:
            present = column_names(path)
            table = read_parquet(path, [name for name in _NAMES if name in present])
        except (pa.ArrowException, OSError) as error:
            raise BrokenError(f"{path}: {why_unreadable(path) or error}") from error
        cells = {name: values(table, name) for name in table.column_names}
        rows = (dict(zip(cells, row, strict=True)) for row in zip(*cells.values(), strict=True))
        outcomes += [_outcome(row, len(outcomes) + at, path, names) for at, row in enumerate(rows)]
    return outcomes[:total] if isinstance(total, int) else outcomes


def _outcome(row: dict[str, Any], place: int, path: Path, names: dict[int, str]) -> EpisodeOutcome:
    episode, frames = row.get("episode_index", place), row.get("length")
    first, stop = row.get("dataset_from_index"), row.get("dataset_to_index")
    if frames is None and isinstance(first, int) and isinstance(stop, int):
        frames = stop - first
    if not isinstance(episode, int) or not isinstance(frames, int):
        raise BrokenError(f"{path} does not say how long its episodes are")
    figures = (_number(row.get(name)) for name in (_SUCCESS, _REWARD, _VERSION, _ACTOR))
    success, reward, version, actor = figures
    return EpisodeOutcome(
        episode,
        frames,
        None if success is None else success > 0,
        None if reward is None else frames * reward,
        None if version is None else int(version),
        None if actor is None else names.get(int(actor)),
    )


def _number(cell: Any) -> float | None:
    """A statistic of a feature of one value."""
    first: Any = cell
    if isinstance(cell, list) and cell:
        first = cast("list[Any]", cell)[0]
    return first if isinstance(first, int | float) and math.isfinite(first) else None


def _actor_names(folder: Path) -> dict[int, str]:
    """Value of the column `actor` -> the actor's id; empty where something else wrote the dataset."""
    if not (folder / ORIGIN_PATH).exists():
        return {}
    names: list[str] = read_json(folder, ORIGIN_PATH).get("actors", [])
    return dict(enumerate(names))


def read_repo_id(folder: Path) -> str:
    """The id that the dataset was written under; the folder's name where something else wrote it.
    Raises BrokenError: what says it cannot be read."""
    if not (folder / ORIGIN_PATH).exists():
        return folder.name
    return read_json(folder, ORIGIN_PATH).get("repo_id", folder.name)
