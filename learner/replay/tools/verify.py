"""What is wrong with a LeRobot v3.0 dataset, this replay's or another. Changes nothing."""

import collections
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from learner.replay.dataset.arrow import Array, column, read_parquet, values, why_unreadable
from learner.replay.dataset.format.layout import ORIGIN_PATH, STATS_PATH, parquet_files, video_numbers
from learner.replay.dataset.format.spec import DatasetError
from learner.replay.dataset.read import open_snapshot, read_info, read_json, read_spec
from learner.replay.tools.problems import problem_with_frames, problems_with_videos


def verify(folder: Path) -> list[str]:
    """Every problem in a line of its own; none means that readers get what info.json promises.

    A replay that grows is checked as it was at one moment.

    Raises DatasetError: it grows faster than its files can be opened."""
    with open_snapshot(folder) as view:
        return [problem.replace(str(view), str(folder)) for problem in _problems(view)]


def _problems(folder: Path) -> list[str]:
    try:
        info = read_info(folder)
    except DatasetError as error:
        return [str(error)]
    problems = [*_unreadable(folder, ["data", "meta/episodes", "sidecar"])]
    if problems:
        return problems
    episodes = _read_all(folder / "meta/episodes", None)
    if episodes is None:
        return ["meta/episodes holds no file"]
    problems += _wrong_episodes(episodes, info)
    problems += _wrong_places(folder, episodes)
    lengths = column(episodes, "length")
    problems += _wrong_frames(folder, lengths, info)
    problems += _wrong_statistics(folder, info)
    if (folder / ORIGIN_PATH).exists():
        problems += _wrong_sidecar(folder, lengths)
        problems += _wrong_videos(folder)
    return problems


def _wrong_videos(folder: Path) -> Iterator[str]:
    spec = read_spec(folder)
    tables: list[pa.Table] = []
    if spec.images != "video":
        return
    for path in parquet_files(folder / "sidecar"):
        sidecar = read_parquet(path, columns=["video", "video_frame"])
        lengths = read_parquet(folder / "meta/episodes" / path.relative_to(folder / "sidecar"), ["length"])
        yield from problems_with_videos(folder, sidecar, column(lengths, "length"), spec)
        tables.append(sidecar)
    used = {number for table in tables for number in values(table, "video")}
    for number in sorted(set(video_numbers(folder)) - used):
        yield f"video {number} belongs to no episode"


def _unreadable(folder: Path, names: list[str]) -> Iterator[str]:
    for name in names:
        for path in parquet_files(folder / name):
            if (problem := why_unreadable(path)) is not None:
                yield f"{path.relative_to(folder)}: {problem}"


def _read_all(folder: Path, columns: list[str] | None) -> pa.Table | None:
    tables = [read_parquet(path, columns=columns) for path in parquet_files(folder)]
    return pa.concat_tables(tables, promote_options="default") if tables else None


def _wrong_episodes(episodes: pa.Table, info: dict[str, Any]) -> Iterator[str]:
    index = column(episodes, "episode_index")
    lengths = column(episodes, "length")
    first, stop = column(episodes, "dataset_from_index"), column(episodes, "dataset_to_index")
    if len(index) != info["total_episodes"]:
        yield f"info.json counts {info['total_episodes']} episodes, meta/episodes {len(index)}"
    if lengths.sum() != info["total_frames"]:
        yield f"info.json counts {info['total_frames']} frames, meta/episodes {lengths.sum()}"
    if (wrong := np.flatnonzero(index != np.arange(len(index)))).size:
        yield f"meta/episodes: episode {index[wrong[0]]} stands where {wrong[0]} should"
    ends = np.cumsum(lengths)
    if (wrong := np.flatnonzero((first != ends - lengths) | (stop != ends))).size:
        yield f"meta/episodes: the indices of episode {wrong[0]} do not follow from the lengths before"


def _wrong_places(folder: Path, episodes: pa.Table) -> Iterator[str]:
    """Files that the episodes name and that are missing, and the other way round."""
    for kind in ("data", "meta/episodes"):
        names = (f"{kind}/chunk_index", f"{kind}/file_index")
        # Tools that rewrite a dataset leave out the place of an episode's own row.
        if not set(names) <= set(episodes.column_names):
            continue
        places = zip(*(values(episodes, name) for name in names), strict=True)
        named = {f"{kind}/chunk-{chunk:03d}/file-{file:03d}.parquet" for chunk, file in set(places)}
        found = {str(path.relative_to(folder)) for path in parquet_files(folder / kind)}
        yield from (f"{name} is missing" for name in sorted(named - found))
        yield from (f"{name} belongs to no episode" for name in sorted(found - named))


def _wrong_frames(folder: Path, lengths: Array, info: dict[str, Any]) -> Iterator[str]:
    episodes = frames = 0
    counted: list[Array] = []
    for path in parquet_files(folder / "data"):
        try:
            table = read_parquet(path)
        except (pa.ArrowException, OSError) as error:
            yield f"{path.relative_to(folder)}: {error}"
            return
        lacking = info["features"].keys() - {*table.column_names, *_videos(info)}
        if lacking:
            yield f"{path.relative_to(folder)} lacks the columns {', '.join(sorted(lacking))}"
            return
        if (problem := problem_with_frames(table, episodes, frames, info["fps"])) is not None:
            yield f"{path.relative_to(folder)}: {problem}"
            return
        counted.append(np.diff(np.r_[np.flatnonzero(column(table, "frame_index") == 0), len(table)]))
        episodes, frames = episodes + len(counted[-1]), frames + len(table)
    seen = np.concatenate([*counted, np.zeros(0, np.int64)])
    if len(seen) != len(lengths):
        yield f"data holds {len(seen)} episodes, meta/episodes {len(lengths)}"
    elif (wrong := np.flatnonzero(seen != lengths)).size:
        episode = wrong[0]
        yield f"episode {episode} has {seen[episode]} frames, meta/episodes says {lengths[episode]}"


def _videos(info: dict[str, Any]) -> list[str]:
    return [name for name, feature in info["features"].items() if feature["dtype"] == "video"]


def _wrong_statistics(folder: Path, info: dict[str, Any]) -> Iterator[str]:
    try:
        statistics = read_json(folder, STATS_PATH)
    except DatasetError as error:
        yield str(error)
        return
    lacking = info["features"].keys() - statistics.keys()
    if lacking:
        yield f"{STATS_PATH} lacks {', '.join(sorted(lacking))}"
    for name, said in statistics.items():
        numbers = json.dumps({key: said[key] for key in ("mean", "std") if key in said})
        if "NaN" in numbers or "Infinity" in numbers:
            yield f"{STATS_PATH}: {name} is not finite"
    count = statistics.get("frame_index", {}).get("count", [info["total_frames"]])[0]
    if count != info["total_frames"]:
        yield f"{STATS_PATH} is over {count} frames, info.json counts {info['total_frames']}"


def _wrong_sidecar(folder: Path, lengths: Array) -> Iterator[str]:
    names = ["episode_index", "actor_id", "session", "sub_env", "episode"]
    sidecar = _read_all(folder / "sidecar", names)
    if sidecar is None:
        yield "sidecar holds no file: nothing says who sent which episode, nor how it ended"
        return
    index = column(sidecar, "episode_index")
    if not np.array_equal(index, np.arange(len(lengths))):
        yield f"sidecar describes {len(index)} episodes, meta/episodes {len(lengths)}"
    identities = collections.Counter(zip(*(values(sidecar, name) for name in names[1:]), strict=True))
    if repeated := [identity for identity, count in identities.items() if count > 1]:
        first = dict(zip(names[1:], repeated[0], strict=True))
        yield f"sidecar: an episode is there twice: {first}"
