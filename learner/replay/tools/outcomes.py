"""How the episodes of a dataset went, from its metadata alone."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from learner.replay.dataset.arrow import column_names, read_parquet, values
from learner.replay.dataset.format.layout import INFO_PATH, ORIGIN_PATH, parquet_files
from learner.replay.dataset.read import read_json

_NAMES = ("episode_index", "length", "stats/next.success/max", "stats/next.reward/mean",
          "stats/weights_version/min", "stats/actor/min")  # fmt: skip


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
    """The committed episodes in order. Raises DatasetError: nothing was committed to `folder`."""
    total = read_json(folder, INFO_PATH)["total_episodes"]
    names = _actor_names(folder)
    outcomes: list[EpisodeOutcome] = []
    for path in parquet_files(folder / "meta/episodes"):
        present = column_names(path)
        table = read_parquet(path, [name for name in _NAMES if name in present])
        nothing: list[Any] = [None] * len(table)
        columns = (values(table, name) if name in present else nothing for name in _NAMES)
        for episode, frames, success, reward, version, actor in zip(*columns, strict=True):
            outcomes.append(
                EpisodeOutcome(
                    episode,
                    frames,
                    None if success is None else success[0] > 0,
                    None if reward is None else frames * reward[0],
                    None if version is None else int(version[0]),
                    None if actor is None else names.get(int(actor[0])),
                )
            )
    return outcomes[:total]


def _actor_names(folder: Path) -> dict[int, str]:
    """Value of the column `actor` -> the actor's id; empty where something else wrote the dataset."""
    if not (folder / ORIGIN_PATH).exists():
        return {}
    names: list[str] = read_json(folder, ORIGIN_PATH).get("actors", [])
    return dict(enumerate(names))


def read_repo_id(folder: Path) -> str:
    """The id that the dataset was written under; the folder's name where something else wrote it.
    Raises DatasetError: nothing was committed to `folder`."""
    if not (folder / ORIGIN_PATH).exists() and (folder / INFO_PATH).exists():
        return folder.name
    return read_json(folder, ORIGIN_PATH)["repo_id"]
