"""What the files of frames hold, one after the other, and what is wrong in them."""

from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from learner.replay.dataset.arrow import Array, begins_empty, column, column_names, read_parquet
from learner.replay.dataset.format.layout import parquet_files
from learner.replay.tools.lerobot_reader import Features, NotReadError, cast, is_language
from learner.replay.tools.problems import (
    not_finite,
    problem_with_empty_cells,
    problem_with_frames,
    problem_with_index,
    problem_with_times,
)


@dataclass
class Frames:
    """The frames of a dataset, without what they show."""

    total: int = 0
    episodes: int = 0
    """Counted in each file for itself."""
    episode: list[Array] = field(default_factory=list[Array])
    """episode_index, an array a file."""
    tasks: set[int] = field(default_factory=set[int])
    problems: list[str] = field(default_factory=list[str])
    remarks: list[str] = field(default_factory=list[str])
    """What LeRobot's reader does not mind."""

    def runs(self) -> tuple[Array, Array, Array]:
        """Episodes in the order of their frames: the number of each, its first frame, and the one after its
        last."""
        episode = np.concatenate([*self.episode, np.zeros(0, np.int64)])
        starts = _starts(episode)
        return episode[starts], starts, np.r_[starts[1:], len(episode)][: len(starts)]


def _starts(episode: Array) -> Array:
    return np.flatnonzero(np.r_[np.ones(min(1, len(episode)), bool), episode[1:] != episode[:-1]])


def scan(folder: Path, info: dict[str, Any], features: Features, strict: bool) -> Frames:
    """Look at every file of frames.
    `strict`: as this replay writes them; otherwise what LeRobot's reader needs."""
    found = Frames()
    for path in parquet_files(folder / "data"):
        name = str(path.relative_to(folder))
        try:
            frames = read_frames(folder, path, features)
        except NotReadError as error:
            found.problems.append(str(error))
            return found
        _judge(found, name, frames, info, strict)
        if found.problems:
            return found
        episode = column(frames, "episode_index")
        found.total += len(frames)
        found.episodes += len(_starts(episode))
        found.episode.append(episode)
        found.tasks |= set(np.unique(column(frames, "task_index")).tolist())
    return found


def read_frames(
    folder: Path,
    path: Path,
    features: Features,
    columns: list[str] | None = None,
    optional: Collection[str] = (),
) -> pa.Table:
    """A file of frames as LeRobot's reader has it, or some of its columns; it may lack those in `optional`.
    Raises NotReadError: names the file, and the columns that are missing or of another type."""
    name = path.relative_to(folder)
    try:
        if begins_empty(path):
            raise NotReadError("begins with a row group without rows, which LeRobot's reader refuses")
        needed = set(map(str, features) if columns is None else columns) - set(optional)
        if lacking := needed - set(column_names(path)):
            raise NotReadError(f"lacks the columns {', '.join(sorted(lacking))}")
        return cast(read_parquet(path, columns), features, "info.json")
    except NotReadError as error:
        raise NotReadError(f"{name} {error}") from error
    except (pa.ArrowException, OSError) as error:
        raise NotReadError(f"{name}: {error}") from error


def _judge(found: Frames, name: str, frames: pa.Table, info: dict[str, Any], strict: bool) -> None:
    frames = frames.select([column for column in frames.column_names if not is_language(column)])
    problem = problem_with_empty_cells(frames) or problem_with_index(frames, found.total)
    odd = problem_with_times(frames, info["fps"]) if problem is None else None
    if strict:
        problem = problem_with_frames(frames, found.episodes, found.total, info["fps"])
    elif odd is not None and any(feature["dtype"] == "video" for feature in info["features"].values()):
        problem = odd
    if problem is not None:
        found.problems.append(f"{name}: {problem}")
        return
    found.remarks += [
        f"{name}: {line}" for line in (odd, not_finite(frames)) if line is not None and not strict
    ]
