"""What is wrong with a LeRobot v3.0 dataset, whoever wrote it. Changes nothing."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from learner.replay.dataset.folder import read_info, read_json, read_spec, standing
from learner.replay.dataset.format import DatasetError, DatasetSpec, read_parquet
from learner.replay.dataset.layout import ORIGIN_PATH, STATS_PATH, video_name, video_numbers
from learner.replay.dataset.video import count_frames


def verify(folder: Path) -> list[str]:
    """Every problem in a line of its own; none means that readers get what info.json promises.

    A replay that grows is judged as it stood at one moment.

    Raises:
        DatasetError: it grows faster than its files can be opened.
    """
    with standing(folder) as view:
        return [problem.replace(str(view), str(folder)) for problem in _look(view)]


def _look(folder: Path) -> list[str]:
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
    lengths = episodes["length"].to_numpy()
    problems += _wrong_frames(folder, lengths, info)
    problems += _wrong_statistics(folder, info)
    if (folder / ORIGIN_PATH).exists():
        problems += _wrong_sidecar(folder, lengths)
        problems += _wrong_videos(folder)
    return problems


def _wrong_videos(folder: Path) -> Iterator[str]:
    spec, tables = read_spec(folder), []
    if spec.images != "video":
        return
    for path in parquet_files(folder / "sidecar"):
        sidecar = read_parquet(path, columns=["video", "video_frame"])
        lengths = read_parquet(folder / "meta/episodes" / path.relative_to(folder / "sidecar"), ["length"])
        yield from problems_with_videos(folder, sidecar, lengths["length"].to_numpy(), spec)
        tables.append(sidecar)
    used = {number for table in tables for number in table["video"].to_pylist()}
    for number in sorted(set(video_numbers(folder)) - used):
        yield f"video {number} belongs to no episode"


def problems_with_videos(
    folder: Path, sidecar: pa.Table, lengths: np.ndarray, spec: DatasetSpec
) -> Iterator[str]:
    """Videos of these episodes that are missing, broken or too short."""
    if spec.images != "video":
        return
    numbers, stops = sidecar["video"].to_numpy(), sidecar["video_frame"].to_numpy() + lengths
    for number in dict.fromkeys(numbers.tolist()):
        needed = int(stops[numbers == number].max())
        for name in (video_name(camera, number) for camera in spec.cameras):
            if not (folder / name).exists():
                yield f"{name} is missing"
                continue
            try:
                frames = count_frames(folder / name)
            except (av.FFmpegError, IndexError) as error:
                yield f"{name}: broken: {error}"
                continue
            if frames < needed:
                yield f"{name} has {frames} frames, episodes in it end at {needed}"


def problem_with_frames(frames: pa.Table, first_episode: int, first_index: int, fps: float) -> str | None:
    """What is wrong with whole episodes that begin at these indices, in words, or None."""
    index = frames["index"].to_numpy()
    episode, frame = frames["episode_index"].to_numpy(), frames["frame_index"].to_numpy()
    wrong = np.flatnonzero(index != first_index + np.arange(len(index)))
    if len(wrong):
        return f"index {index[wrong[0]]} stands where {first_index + wrong[0]} should"
    begins = np.r_[True, episode[1:] != episode[:-1]]
    wrong = np.flatnonzero(episode != first_episode + np.cumsum(begins) - 1)
    if len(wrong):
        row = wrong[0]
        return f"episode {episode[row]} begins at frame {index[row]}: a gap"
    starts = np.flatnonzero(begins)
    expected = np.arange(len(index)) - np.repeat(starts, np.diff(np.r_[starts, len(index)]))
    wrong = np.flatnonzero(frame != expected)
    if len(wrong):
        row = wrong[0]
        return f"frame_index {frame[row]} of episode {episode[row]} should be {expected[row]}"
    wrong = np.flatnonzero(np.abs(frames["timestamp"].to_numpy() - frame / fps) > 1e-4)
    if len(wrong):
        return f"the timestamp at frame {index[wrong[0]]} is not frame_index / fps"
    return _non_finite(frames, index)


def _non_finite(frames: pa.Table, index: np.ndarray) -> str | None:
    for name in frames.column_names:
        column = frames[name].combine_chunks()
        if pa.types.is_struct(column.type):
            column = column.field("bytes")
        flat = column.flatten() if pa.types.is_nested(column.type) else column
        if pa.types.is_floating(flat.type):
            bad = np.flatnonzero(~np.isfinite(flat.to_numpy(zero_copy_only=False)))
            if len(bad):
                row = bad[0] * len(column) // len(flat)
                return f"{name} at frame {index[row]} is not finite"
        if flat.null_count:
            return f"{name} has {flat.null_count} empty values"
    return None


def parquet_files(folder: Path) -> list[Path]:
    """The files of a table, in the order in which LeRobot reads them."""
    return sorted(folder.glob("*/*.parquet"))


def why_unreadable(path: Path) -> str | None:
    """What is wrong with a parquet file, in words, or None; reads its footer alone."""
    try:
        pq.read_metadata(path)
    except (pa.ArrowException, OSError) as error:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - 4))
            ended = file.read() == b"PAR1"
        return f"broken: {error}" if ended else "no footer: it was not closed"
    return None


def _unreadable(folder: Path, names: list[str]) -> Iterator[str]:
    for name in names:
        for path in parquet_files(folder / name):
            problem = why_unreadable(path)
            if problem is not None:
                yield f"{path.relative_to(folder)}: {problem}"


def _read_all(folder: Path, columns: list[str] | None) -> pa.Table | None:
    tables = [read_parquet(path, columns=columns) for path in parquet_files(folder)]
    return pa.concat_tables(tables, promote_options="default") if tables else None


def _wrong_episodes(episodes: pa.Table, info: dict[str, Any]) -> Iterator[str]:
    index = episodes["episode_index"].to_numpy()
    lengths = episodes["length"].to_numpy()
    first, stop = episodes["dataset_from_index"].to_numpy(), episodes["dataset_to_index"].to_numpy()
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
        # Tools that rewrite a dataset leave out where an episode's own row lies.
        if not set(names) <= set(episodes.column_names):
            continue
        places = zip(*(episodes[name].to_pylist() for name in names), strict=True)
        named = {f"{kind}/chunk-{chunk:03d}/file-{file:03d}.parquet" for chunk, file in set(places)}
        found = {str(path.relative_to(folder)) for path in parquet_files(folder / kind)}
        yield from (f"{name} is missing" for name in sorted(named - found))
        yield from (f"{name} belongs to no episode" for name in sorted(found - named))


def _wrong_frames(folder: Path, lengths: np.ndarray, info: dict[str, Any]) -> Iterator[str]:
    episodes = frames = 0
    counted: list[np.ndarray] = []
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
        problem = problem_with_frames(table, episodes, frames, info["fps"])
        if problem is not None:
            yield f"{path.relative_to(folder)}: {problem}"
            return
        counted.append(np.diff(np.r_[np.flatnonzero(table["frame_index"].to_numpy() == 0), len(table)]))
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
    for name, values in statistics.items():
        numbers = json.dumps({key: values[key] for key in ("mean", "std") if key in values})
        if "NaN" in numbers or "Infinity" in numbers:
            yield f"{STATS_PATH}: {name} is not finite"
    count = statistics.get("frame_index", {}).get("count", [info["total_frames"]])[0]
    if count != info["total_frames"]:
        yield f"{STATS_PATH} is over {count} frames, info.json counts {info['total_frames']}"


def _wrong_sidecar(folder: Path, lengths: np.ndarray) -> Iterator[str]:
    names = ["episode_index", "actor_id", "session", "sub_env", "episode"]
    sidecar = _read_all(folder / "sidecar", names)
    if sidecar is None:
        yield "sidecar holds no file: nothing says who sent which episode, nor how it ended"
        return
    index = sidecar["episode_index"].to_numpy()
    if not np.array_equal(index, np.arange(len(lengths))):
        yield f"sidecar describes {len(index)} episodes, meta/episodes {len(lengths)}"
    distinct = sidecar.group_by(names[1:]).aggregate([([], "count_all")])
    if len(distinct) < len(sidecar):
        often = distinct.filter(pc.greater(distinct["count_all"], 1)).select(names[1:]).to_pylist()
        yield f"sidecar: an episode is there twice: {often[0]}"
