"""Changes to a small LeRobot dataset as people meet them, and what is said of each."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tests.support.lerobot_datasets import DATA, EPISODES, edit_column, edit_info, edit_table

type Change = Callable[[Path], object]


def remove(name: str) -> Change:
    return lambda folder: (folder / name).unlink()


def write(name: str, content: bytes) -> Change:
    return lambda folder: (folder / name).write_bytes(content)


def info(**changes: Any) -> Change:
    return lambda folder: edit_info(folder, lambda content: content.update(changes))


def info_without(*names: str) -> Change:
    def change(content: dict[str, Any]) -> None:
        for name in names:
            del content[name]

    return lambda folder: edit_info(folder, change)


def features(change: Callable[[dict[str, Any]], object]) -> Change:
    return lambda folder: edit_info(folder, lambda content: change(content["features"]))


def episodes_without(*names: str) -> Change:
    return lambda folder: edit_table(folder / EPISODES, lambda table: table.drop_columns(list(names)))


def column(name: str, change: Callable[[list[Any]], list[Any]], path: str = DATA) -> Change:
    return lambda folder: edit_column(folder / path, name, change)


def frames(change: Callable[[pa.Table], pa.Table]) -> Change:
    return lambda folder: edit_table(folder / DATA, change)


def with_cells(table: pa.Table, name: str, cells: Any) -> pa.Table:
    return table.set_column(table.schema.get_field_index(name), name, pa.array(cells))


def second_file(change: Callable[[pa.Table], pa.Table]) -> Change:
    """Split the frames: the last episode in a file of its own, which is changed."""

    def split(folder: Path) -> None:
        table = pq.read_table(folder / DATA)
        pq.write_table(table.slice(0, 7), folder / DATA)
        pq.write_table(change(table.slice(7)), folder / DATA.replace("000.parquet", "001.parquet"))

    return split


def as_words(name: str, path: str = DATA) -> Change:
    return column(name, lambda rows: [str(row) for row in rows], path)


def second_file_without_rows(change: Callable[[pa.Table], pa.Table]) -> Change:
    """Change the frames, and add a file that has their columns alone."""

    def add(folder: Path) -> None:
        frames(change)(folder)
        empty = pq.read_table(folder / DATA).slice(0, 0)
        pq.write_table(empty, folder / DATA.replace("000.parquet", "001.parquet"))

    return add


LFS = b"version https://git-lfs.example/spec/v1\noid sha256:0\nsize 9\n"

BROKEN: dict[str, tuple[Change, str]] = {
    "no tasks": (remove("meta/tasks.parquet"), "meta/tasks.parquet is missing"),
    "tasks of zero bytes": (write("meta/tasks.parquet", b""), "meta/tasks.parquet: empty: it has 0 bytes"),
    "tasks without texts": (
        lambda folder: pq.write_table(pa.table({"task_index": [0, 1]}), folder / "meta/tasks.parquet"),
        "meta/tasks.parquet: its index must be the tasks' texts",
    ),
    "one task of two": (
        lambda folder: edit_table(folder / "meta/tasks.parquet", lambda table: table.slice(0, 1)),
        "meta/tasks.parquet has 1 tasks, frames have task_index 1",
    ),
    "no task counted": (info(total_tasks=0), "info.json counts 0 tasks"),
    "no info": (remove("meta/info.json"), "it has no meta/info.json"),
    "info cut short": (write("meta/info.json", b'{"fps": 20,'), "meta/info.json is broken"),
    "info is a list": (write("meta/info.json", b"[]"), "meta/info.json is broken: it is no JSON object"),
    "info is a pointer": (write("meta/info.json", LFS), "a git-LFS pointer"),
    "no version": (info_without("codebase_version"), "meta/info.json lacks codebase_version"),
    "no fps": (info_without("fps"), "meta/info.json: fps must be a positive number, it is None"),
    "fps of zero": (info(fps=0), "meta/info.json: fps must be a positive number, it is 0"),
    "no features": (info_without("features"), "meta/info.json lacks features"),
    "no counts": (
        info_without("total_episodes", "total_frames"),
        "info.json counts 0 episodes, meta/episodes 3",
    ),
    "too few frames": (info(total_frames=7), "info.json counts 7 frames, data 8"),
    "words as count": (info(total_frames="8"), "total_frames must be a whole number, it is '8'"),
    "chunks of none": (
        info(chunks_size=0),
        "meta/info.json: LeRobot's reader refuses it: chunks_size must be",
    ),
    "feature that is not there": (
        features(lambda found: found.update(grip={"dtype": "float32", "shape": [1]})),
        f"{DATA} lacks the columns grip",
    ),
    "feature without a shape": (
        features(lambda found: found["action"].pop("shape")),
        "meta/info.json: the feature action lacks its shape",
    ),
    "feature of another shape": (
        features(lambda found: found["action"].update(shape=[3])),
        "action is not List",
    ),
    "feature of an unknown type": (
        features(lambda found: found["action"].update(dtype="float33")),
        "meta/info.json: LeRobot's reader refuses it",
    ),
    "column that is not listed": (
        features(lambda found: found.pop("action")),
        f"{DATA} has the columns action, which info.json does not list",
    ),
    "no index": (
        lambda folder: (
            features(lambda found: found.pop("index"))(folder),
            frames(lambda table: table.drop_columns(["index"]))(folder),
        ),
        "meta/info.json lacks the features index",
    ),
    "empty values": (column("action", lambda rows: [None, *rows[1:]]), f"{DATA}: action has 1 empty values"),
    "frames of a merge, not numbered on": (
        column("index", lambda rows: [0, 1, 2, 3, 0, 1, 2, 0]),
        f"{DATA}: index 0 stands where 4 should",
    ),
    "episode in two pieces": (
        column("episode_index", lambda rows: [0, 1, 0, 0, 1, 1, 1, 2]),
        "data: the frames of episode 0 are not in one piece",
    ),
    "episode removed by hand": (
        column("episode_index", lambda rows: [0, 0, 0, 0, 2, 2, 2, 3]),
        "data holds no frame of episode 1: episodes must count from 0 without gaps",
    ),
    "no frames": (remove(DATA), f"{DATA} is missing"),
    "frames of zero bytes": (write(DATA, b""), f"{DATA}: empty: it has 0 bytes"),
    "frames as pointer": (
        write(DATA, LFS),
        f"{DATA}: a git-LFS pointer instead of the file: fetch it with git lfs",
    ),
    "recording interrupted": (
        lambda folder: (folder / DATA).write_bytes((folder / DATA).read_bytes()[:-50]),
        f"{DATA}: no footer: it was not closed",
    ),
    "file without a column": (
        second_file(lambda table: table.drop_columns(["action"])),
        "data/chunk-000/file-001.parquet lacks the columns action",
    ),
    "file without rows": (
        second_file_without_rows(lambda table: table),
        "data/chunk-000/file-001.parquet begins with a row group without rows",
    ),
    "file without rows, frames without a key": (
        second_file_without_rows(lambda table: table.drop_columns(["frame_index"])),
        f"{DATA} lacks the columns frame_index",
    ),
    "no row at all": (
        frames(lambda table: table.slice(0, 0)),
        f"{DATA} begins with a row group without rows",
    ),
    "numbers of episodes as words": (as_words("episode_index"), "LeRobot's reader fails"),
    "tasks as words, and no tasks": (
        lambda folder: (as_words("task_index")(folder), remove("meta/tasks.parquet")(folder)),
        "meta/tasks.parquet is missing",
    ),
    "half a task": (
        frames(lambda table: with_cells(table, "task_index", [0.5] * len(table))),
        f"{DATA} task_index is not ",
    ),
    "half an episode": (
        frames(lambda table: with_cells(table, "episode_index", [0.5] * len(table))),
        f"{DATA} episode_index is not ",
    ),
    "states as words": (as_words("observation.state"), f"{DATA} observation.state is not "),
    "states of two lengths": (
        column("observation.state", lambda rows: [[0.0], *rows[1:]]),
        f"{DATA} observation.state is not ",
    ),
    "a task before the first": (
        column("task_index", lambda rows: [-7, *rows[1:]]),
        "meta/tasks.parquet has 2 tasks, frames have task_index -7",
    ),
    "a task far beyond the last": (
        column("task_index", lambda rows: [2**40, *rows[1:]]),
        "meta/tasks.parquet has 2 tasks, frames have task_index 1099511627776",
    ),
    "tasks of episodes as words": (
        lambda folder: (as_words("tasks", EPISODES)(folder), remove("meta/tasks.parquet")(folder)),
        "meta/tasks.parquet is missing",
    ),
    "no episodes": (remove(EPISODES), "meta/episodes holds no file"),
    "episodes without a range": (
        episodes_without("dataset_to_index"),
        "meta/episodes lacks the columns dataset_to",
    ),
    "ranges of a faulty conversion": (
        column("dataset_from_index", lambda rows: [0, 3, 7], EPISODES),
        "meta/episodes: episode 1 is at 3 .. 7, its frames are at 4 .. 7",
    ),
    "episodes with half a row": (
        column("dataset_to_index", lambda rows: [*rows[:2], None], EPISODES),
        "meta/episodes: dataset_to_index has 1 empty values",
    ),
    "one row too few": (
        lambda folder: edit_table(folder / EPISODES, lambda table: table.slice(0, 2)),
        "info.json counts 3 episodes, meta/episodes 2",
    ),
    "statistics cut short": (write("meta/stats.json", b'{"action": '), "meta/stats.json is broken"),
    "statistics as pointer": (write("meta/stats.json", LFS), "meta/stats.json is broken: a git-LFS pointer"),
    "everything of zero bytes": (
        lambda folder: [path.write_bytes(b"") for path in folder.rglob("*.parquet")],
        f"{EPISODES}: empty: it has 0 bytes",
    ),
}

WHOLE: dict[str, tuple[Change, str]] = {
    "times as words": (
        features(lambda found: found["timestamp"].update(dtype="string")),
        "timestamp has no numbers",
    ),
    "no statistics": (remove("meta/stats.json"), "it has no meta/stats.json"),
    "statistics of a part": (
        write("meta/stats.json", b'{"action": {"mean": [0, 0]}}'),
        "lacks observation.state",
    ),
    "no robot, no splits": (info_without("robot_type", "splits"), ""),
    "places of a faulty conversion": (
        column("data/file_index", lambda rows: [0, 0, 1], EPISODES),
        "data/chunk-000/file-001.parquet is missing",
    ),
    "episodes without the rest": (
        episodes_without("length", "tasks", "data/file_index"),
        "meta/episodes lacks the columns length, tasks, data/file_index",
    ),
    "not a number": (
        column("action", lambda rows: [[float("nan"), 0.0], *rows[1:]]),
        "action at frame 0 is not finite",
    ),
    "uneven times": (
        column("timestamp", lambda rows: [row + 0.01 for row in rows]),
        "the timestamp at frame 0 is not",
    ),
    "frames in two files": (second_file(lambda table: table), ""),
    "whole numbers as floats": (
        frames(lambda table: with_cells(table, "task_index", table["task_index"].to_numpy().astype(float))),
        "",
    ),
    "wider type than said": (
        frames(lambda table: with_cells(table, "task_index", table["task_index"].to_numpy().astype("int32"))),
        "",
    ),
}
