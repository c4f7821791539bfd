"""What can be wrong with the files in meta/, as LeRobot's reader needs them."""

import math
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from learner.replay.dataset.arrow import column, floats, is_whole, null_count, read_parquet, values
from learner.replay.dataset.format.layout import STATS_PATH, TASKS_PATH, VIDEO_PATH, parquet_files
from learner.replay.dataset.read import read_features, read_json
from learner.replay.tools.frames import Frames
from learner.replay.tools.lerobot_reader import (
    NotReadError,
    cast,
    check_stats,
    is_language,
    read_tasks,
    table_features,
)
from learner.replay.tools.problems import problem_with_video

FIRST, STOP = "dataset_from_index", "dataset_to_index"
INDICES = ("index", "episode_index", "task_index")
"""Features without which LeRobot reads no frame."""
_USEFUL = ("episode_index", "length", "tasks", "data/chunk_index", "data/file_index")
NO_EPISODE = "it holds no episode: LeRobot opens no dataset without one"
_PICTURES = ("image", "video")


def wrong_info(info: dict[str, Any]) -> Iterator[str]:
    """What info.json lacks or has of another kind."""
    features = read_features(info)
    if features is None:
        yield "meta/info.json lacks features: the columns, each with dtype and shape"
        return
    fps = info.get("fps")
    if not isinstance(fps, int | float) or not math.isfinite(fps) or fps <= 0:
        yield f"meta/info.json: fps must be a positive number, it is {fps}"
    for name, feature in features.items():
        needed = (
            ()
            if is_language(name)
            else ("dtype",)
            if feature.get("dtype") in _PICTURES
            else ("dtype", "shape")
        )
        yield from (
            f"meta/info.json: the feature {name} lacks its {key}" for key in needed if key not in feature
        )
    timed = ("timestamp",) if video_keys(info) else ()
    if lacking := [name for name in (*INDICES, *timed) if name not in features]:
        yield f"meta/info.json lacks the features {', '.join(lacking)}"
    for name in ("episode_index", "task_index"):
        if name in features and "int" not in str(features[name].get("dtype")):
            yield f"meta/info.json: the feature {name} must be of whole numbers"
    for key in ("total_episodes", "total_frames", "total_tasks"):
        if not isinstance(info.get(key, 0), int):
            yield f"meta/info.json: {key} must be a whole number, it is {info[key]!r}"


def video_keys(info: dict[str, Any]) -> list[str]:
    return [name for name, feature in info["features"].items() if feature.get("dtype") == "video"]


def read_episodes(folder: Path) -> pa.Table | None:
    """The tables in meta/episodes as one, None if there is none.
    Raises NotReadError: one cannot be read or does not fit the first."""
    tables: list[pa.Table] = []
    for path in parquet_files(folder / "meta/episodes"):
        try:
            table = read_parquet(path)
            if tables and table.schema != tables[0].schema:
                table = cast(table, table_features(tables[0]), "the first file of meta/episodes")
            tables.append(table)
        except NotReadError as error:
            raise NotReadError(f"{path.relative_to(folder)} {error}") from error
        except (pa.ArrowException, OSError, ValueError) as error:
            raise NotReadError(f"{path.relative_to(folder)}: broken: {error}") from error
    return pa.concat_tables(tables, promote_options="default") if tables else None


def wrong_columns(episodes: pa.Table, whole: Collection[str], real: Collection[str] = ()) -> Iterator[str]:
    """Columns that meta/episodes lacks, that have empty cells, or hold no whole or no real numbers."""
    if lacking := [name for name in (*whole, *real) if name not in episodes.column_names]:
        yield f"meta/episodes lacks the columns {', '.join(lacking)}"
    for name in episodes.column_names:
        if name not in (*whole, *real):
            continue
        if count := null_count(episodes, name):
            yield f"meta/episodes: {name} has {count} empty values"
        elif name in whole and not is_whole(episodes, name):
            yield f"meta/episodes: {name} must be whole numbers"
        elif name in real and not _finite(episodes, name):
            yield f"meta/episodes: {name} must be numbers"


def _finite(table: pa.Table, name: str) -> bool:
    numbers = floats(table, name)
    return numbers is not None and bool(np.isfinite(numbers).all())


def wrong_counts(episodes: pa.Table, frames: Frames, info: dict[str, Any]) -> Iterator[str]:
    """Where info.json, meta/episodes and the frames count differently, or do not name the same episodes."""
    number, starts, stops = frames.runs()
    counted = {name: info.get(f"total_{name}", 0) for name in ("episodes", "frames")}
    if counted["episodes"] != len(episodes):
        yield f"info.json counts {counted['episodes']} episodes, meta/episodes {len(episodes)}"
    if counted["frames"] != frames.total:
        yield f"info.json counts {counted['frames']} frames, data {frames.total}"
    different, times = np.unique(number, return_counts=True)
    if (times > 1).any():
        yield f"data: the frames of episode {different[times > 1][0]} are not in one piece"
    elif len(different) != len(episodes):
        yield f"data holds {len(different)} episodes, meta/episodes {len(episodes)}"
    elif (gaps := np.setdiff1d(np.arange(len(different)), different)).size:
        yield f"data holds no frame of episode {gaps[0]}: episodes must count from 0 without gaps"
    else:
        first, stop, order = column(episodes, FIRST), column(episodes, STOP), np.argsort(number)
        starts, stops = starts[order], stops[order]
        for at in np.flatnonzero((first != starts) | (stop != stops))[:1]:
            yield (
                f"meta/episodes: episode {at} is at {first[at]} .. {stop[at]}, "
                f"its frames are at {starts[at]} .. {stops[at]}"
            )


def missing_files(folder: Path, episodes: pa.Table) -> Iterator[str]:
    """Files of frames that meta/episodes names and that are not there."""
    names = ("data/chunk_index", "data/file_index")
    if not set(names) <= set(episodes.column_names):
        return
    places = set(zip(*(values(episodes, name) for name in names), strict=True))
    for chunk, file in sorted(place for place in places if all(isinstance(each, int) for each in place)):
        name = f"data/chunk-{chunk:03d}/file-{file:03d}.parquet"
        if not (folder / name).exists():
            yield f"{name} is missing"


def odd_episodes(episodes: pa.Table) -> Iterator[str]:
    """What LeRobot's reader does not look at in meta/episodes, and other tools do."""
    if lacking := [name for name in _USEFUL if name not in episodes.column_names]:
        yield f"meta/episodes lacks the columns {', '.join(lacking)}"
    names = episodes.column_names
    if "episode_index" in names and values(episodes, "episode_index") != list(range(len(episodes))):
        yield "meta/episodes: episode_index does not count from 0"
    if (
        "length" in names
        and values(episodes, "length") != (column(episodes, STOP) - column(episodes, FIRST)).tolist()
    ):
        yield "meta/episodes: length is not the number of frames"


def wrong_tasks(folder: Path, info: dict[str, Any], used: Collection[int]) -> Iterator[str]:
    """Whether each frame's task has a text."""
    if info.get("total_tasks", 0) <= 0:
        yield f"info.json counts {info.get('total_tasks', 0)} tasks: LeRobot reads no frame without one"
        return
    if not (folder / TASKS_PATH).exists():
        yield f"{TASKS_PATH} is missing"
        return
    try:
        tasks = read_tasks(folder)
    except NotReadError as error:
        yield str(error)
        return
    if not all(isinstance(text, str) for text in tasks.index):
        yield f"{TASKS_PATH}: its index must be the tasks' texts"
    if wrong := sorted(task for task in used if not -len(tasks) <= task < len(tasks)):
        yield f"{TASKS_PATH} has {len(tasks)} tasks, frames have task_index {wrong[0]}"


def wrong_stats(folder: Path, info: dict[str, Any]) -> Iterator[str]:
    """What training may lack; LeRobot's reader needs no statistics.
    Raises DatasetError: there are some that it cannot read."""
    if not (folder / STATS_PATH).exists():
        yield f"it has no {STATS_PATH}: LeRobot opens it, policies cannot normalise"
        return
    statistics = read_json(folder, STATS_PATH)
    check_stats(statistics)
    used = (name for name in info["features"] if name == "action" or name.startswith("observation."))
    if lacking := sorted(name for name in used if has_statistics(info, name) and name not in statistics):
        yield f"{STATS_PATH} lacks {', '.join(lacking)}"


def has_statistics(info: dict[str, Any], name: str) -> bool:
    """LeRobot computes none of words."""
    return info["features"][name].get("dtype") not in ("string", "language") and not is_language(name)


def wrong_videos(folder: Path, episodes: pa.Table, info: dict[str, Any]) -> Iterator[str]:
    """Videos that are missing, broken or too short for the episodes in them."""
    lengths = column(episodes, STOP) - column(episodes, FIRST)
    for key in video_keys(info):
        columns = [f"videos/{key}/{name}" for name in ("chunk_index", "file_index", "from_timestamp")]
        if lines := list(wrong_columns(episodes, columns[:2], columns[2:])):
            yield from lines
            continue
        needed: dict[str, int] = {}
        places = zip(*(values(episodes, name) for name in columns), lengths.tolist(), strict=True)
        for chunk, file, begins, length in places:
            name = _video_name(info, key, chunk, file)
            needed[name] = max(needed.get(name, 0), round(begins * info["fps"]) + length)
        for name, stop in sorted(needed.items()):
            if (problem := problem_with_video(folder, name, stop)) is not None:
                yield problem


def _video_name(info: dict[str, Any], key: str, chunk: int, file: int) -> str:
    """Raises NotReadError: info.json does not say where videos are."""
    pattern: Any = info.get("video_path", VIDEO_PATH)
    try:
        return pattern.format(video_key=key, chunk_index=chunk, file_index=file)
    except (AttributeError, LookupError, ValueError) as error:
        raise NotReadError(f"meta/info.json: video_path {pattern!r} does not say where videos are") from error
