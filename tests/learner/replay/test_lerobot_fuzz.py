"""Datasets with random damage: verify agrees with LeRobot's own reader, and raises nothing but its report."""

import contextlib
import json
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from config.process import UsageError
from learner.replay.tools.facts import describe
from learner.replay.tools.repair import repair
from learner.replay.tools.verify import examine
from tests.support.lerobot_datasets import (
    DATA,
    EPISODES,
    edit_column,
    edit_info,
    edit_table,
    why_lerobot_fails,
)

NAMES = ("meta/info.json", "meta/stats.json", "meta/tasks.parquet", EPISODES, DATA)
TABLES = {
    DATA: ("observation.state", "action", "timestamp", "frame_index", "episode_index", "index", "task_index"),
    EPISODES: (
        "episode_index", "tasks", "length", "data/chunk_index", "data/file_index", "dataset_from_index",
        "dataset_to_index", "meta/episodes/chunk_index",
    ),
    "meta/tasks.parquet": ("task_index",),
}  # fmt: skip
ODD = st.sampled_from([None, -1, 0, 1, 2, 7, 2.5, True, "8", "", [], [1], {}, float("nan")])
"""What may stand in a JSON file or a cell."""

type Change = Callable[[Path], object]


def cells(change: st.SearchStrategy[Any]) -> st.SearchStrategy[Callable[[list[Any]], list[Any]]]:
    """Change one value of a column, or all, or their order."""

    def one(value: Any, at: int) -> Callable[[list[Any]], list[Any]]:
        return lambda rows: [value if row == at % max(1, len(rows)) else old for row, old in enumerate(rows)]

    return st.one_of(
        st.builds(one, change, st.integers(0, 7)),
        st.sampled_from([lambda rows: rows[::-1], lambda rows: [rows[0]] * len(rows)]),
        st.integers(-2, 5).map(lambda by: lambda rows: [moved(row, by) for row in rows]),
    )


def moved(value: Any, by: int) -> Any:
    return value + by if isinstance(value, int | float) else value


@st.composite
def table_changes(draw: st.DrawFn) -> Change:
    name = draw(st.sampled_from(sorted(TABLES)))
    column = draw(st.sampled_from(TABLES[name]))
    match draw(st.sampled_from(["cells", "cells", "drop", "rows", "copy", "text"])):
        case "cells":
            change = draw(cells(ODD))
            return lambda folder: try_to(lambda: edit_column(folder / name, column, change))
        case "drop":
            return lambda folder: edit_table(folder / name, lambda table: table.drop_columns([column]))
        case "rows":
            count = draw(st.integers(0, 3))
            return lambda folder: edit_table(folder / name, lambda table: table.slice(0, count))
        case "copy":
            return lambda folder: edit_table(
                folder / name, lambda table: table.append_column("other", table[column])
            )
        case _:
            return lambda folder: edit_column(folder / name, column, lambda rows: [str(row) for row in rows])


def try_to(edit: Callable[[], object]) -> None:
    """Values that no column can hold are no damage."""
    with contextlib.suppress(TypeError, ValueError):
        edit()


@st.composite
def json_changes(draw: st.DrawFn) -> Change:
    keys = st.sampled_from(
        [
            "codebase_version",
            "fps",
            "features",
            "total_episodes",
            "total_frames",
            "total_tasks",
            "chunks_size",
            "data_path",
            "video_path",
            "robot_type",
            "splits",
            "unknown",
        ]
    )
    key, value, lost = draw(keys), draw(ODD), draw(st.booleans())

    def change(info: dict[str, Any]) -> None:
        if lost:
            info.pop(key, None)
        else:
            info[key] = value

    return lambda folder: edit_info(folder, change)


@st.composite
def feature_changes(draw: st.DrawFn) -> Change:
    name = draw(st.sampled_from([*TABLES[DATA], "other"]))
    value = draw(
        st.sampled_from(
            [
                {"dtype": "float64"},
                {"dtype": "int64"},
                {"dtype": "string"},
                {"dtype": "nothing"},
                {"shape": [2]},
                {"shape": [1]},
                {"shape": []},
                {"shape": "2"},
                {"dtype": None},
                None,
            ]
        )
    )

    def change(info: dict[str, Any]) -> None:
        if value is None:
            info["features"].pop(name, None)
        else:
            info["features"].setdefault(name, {"dtype": "float32", "shape": [1]}).update(value)

    return lambda folder: edit_info(folder, change)


@st.composite
def file_changes(draw: st.DrawFn) -> Change:
    name, share = draw(st.sampled_from(NAMES)), draw(st.floats(0, 1))
    match draw(st.sampled_from(["remove", "cut", "flip", "statistics"])):
        case "remove":
            return lambda folder: (folder / name).unlink()
        case "cut":
            return lambda folder: (folder / name).write_bytes(part(folder / name, share))
        case "flip":
            return lambda folder: flip(folder / name, share)
        case _:
            value = draw(ODD)
            return lambda folder: (folder / "meta/stats.json").write_text(json.dumps({"action": value}))


def part(path: Path, share: float) -> bytes:
    content = path.read_bytes()
    return content[: int(share * len(content))]


def flip(path: Path, share: float) -> None:
    content = bytearray(path.read_bytes())
    if content:
        content[int(share * (len(content) - 1))] ^= 0x20
    path.write_bytes(content)


def split(folder: Path) -> None:
    """The frames in two files."""
    table = pq.read_table(folder / DATA)
    pq.write_table(table.slice(0, 4), folder / DATA)
    pq.write_table(table.slice(4), folder / DATA.replace("file-000", "file-001"))


CHANGES = st.one_of(table_changes(), json_changes(), feature_changes(), file_changes(), st.just(split))


def agree(whole: Path, changes: list[Change]) -> None:
    """Damage a copy, and compare what verify says with what LeRobot does."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(shutil.copytree(whole, Path(place) / "dataset"))
        for change in changes:
            apply(folder, change)
        try:
            problems = examine(folder).problems
            describe(folder)
        except UsageError as error:
            problems = [str(error)]
        failed = why_lerobot_fails(folder, Path(place) / "cache")
        if problems and ("has codebase_version" in problems[0] or "has LeRobot's format" in problems[0]):
            return  # LeRobot opens any number above its own as if it were its own; verify does not guess
        assert bool(problems) == bool(failed), (problems, failed)
        if problems and "lacks codebase_version" not in problems[0]:
            mended(folder, Path(place))


def apply(folder: Path, change: Change) -> None:
    """A second change may find no file, column or key that it could change."""
    with contextlib.suppress(OSError, LookupError, TypeError, ValueError, AttributeError):
        change(folder)


def mended(folder: Path, place: Path) -> None:
    """repair leaves a dataset that LeRobot reads, or says what is missing."""
    try:
        repaired = repair(folder)
    except UsageError:
        return
    failed = None if repaired.left else why_lerobot_fails(folder, place / "mended")
    assert failed is None, (repaired, failed)


@settings(max_examples=10, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(changes=st.lists(CHANGES, min_size=1, max_size=1))
def test_verify_agrees_with_lerobot(changes: list[Change], lerobot_dataset: Path) -> None:
    agree(lerobot_dataset, changes)


@pytest.mark.slow
@settings(max_examples=400, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(changes=st.lists(CHANGES, min_size=1, max_size=3))
def test_verify_agrees_with_lerobot_about_much_damage(changes: list[Change], lerobot_dataset: Path) -> None:
    agree(lerobot_dataset, changes)
