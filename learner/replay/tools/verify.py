"""What is wrong with a LeRobot v3.0 dataset, this replay's or another. Changes nothing."""

import collections
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from learner.replay.dataset.arrow import Array, column, read_parquet, values, why_unreadable
from learner.replay.dataset.format.layout import (
    ORIGIN_PATH,
    STATS_PATH,
    TASKS_PATH,
    parquet_files,
    video_numbers,
)
from learner.replay.dataset.format.spec import DatasetError
from learner.replay.dataset.read import VersionError, open_snapshot, read_info, read_json, read_spec
from learner.replay.tools import description
from learner.replay.tools.frames import Frames, scan
from learner.replay.tools.lerobot_reader import frame_features, why_not_read
from learner.replay.tools.problems import problems_with_videos

_PLACES = [f"{kind}/{name}_index" for kind in ("data", "meta/episodes") for name in ("chunk", "file")]


@dataclass
class Report:
    """What was found in a dataset, a line each."""

    problems: list[str]
    """None: LeRobot's reader reads every frame, and a learner can go on with a replay."""
    remarks: list[str]
    """What LeRobot's reader does not mind, and other tools may."""


def verify(folder: Path) -> list[str]:
    """The problems of `examine`, without LeRobot's reader: a second faster."""
    return examine(folder, opening=False).problems


def examine(folder: Path, *, opening: bool = True) -> Report:
    """Look at everything; `opening`: let LeRobot's own reader open it at the end.

    A replay that grows is checked as it was at one moment.

    Raises DatasetError: no dataset, of another version, or it grows faster than its files can be opened."""
    with open_snapshot(folder) as view:
        found = Report([], [])
        try:
            info = read_info(view)
            episodes = _examine(view, info, found)
            if opening and not found.problems:
                found.problems += why_not_read(view, info["total_episodes"])
            _add_remarks(view, episodes, found)
        except VersionError:
            raise
        except DatasetError as error:
            found.problems.append(str(error))
        except (pa.ArrowException, OSError) as error:
            found.problems.append(f"a file is damaged: {str(error).splitlines()[0]}")
        for lines in (found.problems, found.remarks):
            lines[:] = [line.replace(f"{view}/", "").replace(str(view), str(folder)) for line in lines]
        return found


def _examine(folder: Path, info: dict[str, Any], found: Report) -> pa.Table | None:
    """The table of episodes, if one can be read.
    Raises DatasetError: a problem that hides others."""
    found.problems += [*description.wrong_info(info), *_unreadable(folder)]
    if found.problems:
        return None
    features, ours = frame_features(info), (folder / ORIGIN_PATH).exists()
    episodes = description.read_episodes(folder)
    if episodes is None and not parquet_files(folder / "data"):
        raise DatasetError(description.NO_EPISODE)
    frames = scan(folder, info, features, strict=ours)
    found.remarks += frames.remarks
    found.problems += [*frames.problems, *_wrong_episodes(folder, episodes, frames, info)]
    found.problems += description.wrong_tasks(folder, info, frames.tasks)
    if ours and episodes is not None:
        found.problems += _wrong_replay(folder, episodes, info)
    (found.problems if ours else found.remarks).extend(description.wrong_stats(folder, info))
    return episodes


def _add_remarks(folder: Path, episodes: pa.Table | None, found: Report) -> None:
    if episodes is None:
        return
    missing = list(description.missing_files(folder, episodes))
    if found.problems:
        found.problems += [line for line in missing if line not in found.problems]
    else:
        found.remarks += [*missing, *description.odd_episodes(episodes)]


def _unreadable(folder: Path) -> Iterator[str]:
    tables = [path for name in ("data", "meta/episodes", "sidecar") for path in parquet_files(folder / name)]
    for path in [*tables, *folder.glob(TASKS_PATH)]:
        if (problem := why_unreadable(path)) is not None:
            yield f"{path.relative_to(folder)}: {problem}"


def _wrong_episodes(
    folder: Path, episodes: pa.Table | None, frames: Frames, info: dict[str, Any]
) -> Iterator[str]:
    if episodes is None:
        yield "meta/episodes holds no file"
        return
    lines = [*description.wrong_columns(episodes, (description.FIRST, description.STOP))]
    if not lines:
        lines += description.wrong_videos(folder, episodes, info)
        if not frames.problems:
            lines += description.wrong_counts(episodes, frames, info)
    yield from lines


def _wrong_replay(folder: Path, episodes: pa.Table, info: dict[str, Any]) -> Iterator[str]:
    """What a learner needs of a replay, beyond what LeRobot's reader does."""
    if lines := list(description.wrong_columns(episodes, ("episode_index", "length", *_PLACES))):
        yield from lines
        return
    lengths = column(episodes, "length")
    yield from _wrong_lengths(episodes, lengths, info)
    yield from _wrong_places(folder, episodes)
    yield from _wrong_statistics(folder, info)
    yield from _wrong_sidecar(folder, lengths)
    yield from _wrong_videos(folder)


def _wrong_lengths(episodes: pa.Table, lengths: Array, info: dict[str, Any]) -> Iterator[str]:
    index = column(episodes, "episode_index")
    if lengths.sum() != info["total_frames"]:
        yield f"info.json counts {info['total_frames']} frames, meta/episodes {lengths.sum()}"
    if (wrong := np.flatnonzero(index != np.arange(len(index)))).size:
        yield f"meta/episodes: episode {index[wrong[0]]} stands where {wrong[0]} should"


def _wrong_places(folder: Path, episodes: pa.Table) -> Iterator[str]:
    """Files that the episodes name and that are missing, and the other way round."""
    for kind in ("data", "meta/episodes"):
        places = zip(
            *(values(episodes, f"{kind}/{name}") for name in ("chunk_index", "file_index")), strict=True
        )
        named = {f"{kind}/chunk-{chunk:03d}/file-{file:03d}.parquet" for chunk, file in set(places)}
        found = {str(path.relative_to(folder)) for path in parquet_files(folder / kind)}
        yield from (f"{name} is missing" for name in sorted(named - found))
        yield from (f"{name} belongs to no episode" for name in sorted(found - named))


def _wrong_statistics(folder: Path, info: dict[str, Any]) -> Iterator[str]:
    if not (folder / STATS_PATH).exists():
        return
    statistics = read_json(folder, STATS_PATH)
    wanted = {name for name in info["features"] if description.has_statistics(info, name)}
    if lacking := wanted - statistics.keys():
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
    sidecar = _read_sidecar(folder, names)
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


def _read_sidecar(folder: Path, names: list[str]) -> pa.Table | None:
    """Raises DatasetError: a file lacks a column."""
    tables = [read_parquet(path, columns=names) for path in parquet_files(folder / "sidecar")]
    for table in tables:
        if lacking := set(names) - set(table.column_names):
            raise DatasetError(f"sidecar lacks the columns {', '.join(sorted(lacking))}")
    return pa.concat_tables(tables, promote_options="default") if tables else None


def _wrong_videos(folder: Path) -> Iterator[str]:
    spec = read_spec(folder)
    tables: list[pa.Table] = []
    if not spec.videos:
        return
    for path in parquet_files(folder / "sidecar"):
        sidecar = read_parquet(path, columns=["video", "video_frame"])
        lengths = read_parquet(folder / "meta/episodes" / path.relative_to(folder / "sidecar"), ["length"])
        yield from problems_with_videos(folder, sidecar, column(lengths, "length"), spec)
        tables.append(sidecar)
    used = {number for table in tables for number in values(table, "video")}
    for number in sorted(set(video_numbers(folder)) - used):
        yield f"video {number} belongs to no episode"
