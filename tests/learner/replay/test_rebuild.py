"""repair on datasets that another program wrote: meta/ is made anew from the frames, no frame is dropped."""

import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from learner.replay.dataset.format.spec import DatasetError
from learner.replay.tools.repair import repair
from learner.replay.tools.verify import examine
from tests.support import corners
from tests.support.lerobot_datasets import DATA, why_lerobot_fails

LOST = {
    "info is a list", "info is a pointer", "no info", "info cut short", "no version", "no fps", "fps of zero",
    "no features", "feature without a shape", "feature of an unknown type", "feature of another shape",
    "frames of zero bytes", "frames as pointer", "recording interrupted", "everything of zero bytes",
    "no frames", "file without a column", "empty values", "chunks of none", "no row at all", "half a task",
    "half an episode", "states as words", "states of two lengths", "a task before the first",
    "a task far beyond the last", "tasks of episodes as words",
}  # fmt: skip
"""Damages after which nothing in the dataset says what was there."""


def snapshot(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def dataset(lerobot_dataset: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(lerobot_dataset, tmp_path / "dataset"))


@pytest.mark.parametrize("name", sorted(corners.BROKEN.keys() - LOST))
def test_what_the_frames_say_is_made_anew(name: str, dataset: Path, tmp_path: Path) -> None:
    change, _ = corners.BROKEN[name]
    change(dataset)
    before = pq.read_table(dataset / DATA, columns=["observation.state"])
    repaired = repair(dataset)
    assert repaired.left == () and (repaired.written or repaired.dropped)
    assert examine(dataset).problems == []
    assert why_lerobot_fails(dataset, tmp_path / "cache") is None
    assert pq.read_table(dataset / DATA, columns=["observation.state"]).equals(before)
    assert repair(dataset).written == ()


@pytest.mark.parametrize("name", sorted(LOST))
def test_what_nothing_says_is_named_and_nothing_changed(name: str, dataset: Path) -> None:
    change, _ = corners.BROKEN[name]
    change(dataset)
    before, problems = snapshot(dataset), examine(dataset, opening=False).problems
    assert set(repair(dataset).left) >= set(problems)
    assert snapshot(dataset) == before


@pytest.mark.parametrize("lost", ["meta/stats.json", "meta/tasks.parquet"])
def test_a_shape_that_the_frames_do_not_have_is_named_where_more_is_lost(lost: str, dataset: Path) -> None:
    change, _ = corners.BROKEN["feature of another shape"]
    change(dataset)
    (dataset / lost).unlink()
    before = snapshot(dataset)
    try:
        assert repair(dataset).left
    except DatasetError as error:
        assert "shape" in str(error)
    assert snapshot(dataset) == before


@pytest.mark.parametrize("unlisted", [False, True])
def test_frames_that_cannot_be_unpacked_are_named_and_nothing_changed(unlisted: bool, dataset: Path) -> None:
    corners.frames(lambda table: table.drop_columns(["task_index"]))(dataset)
    if unlisted:
        corners.features(lambda found: found.pop("observation.state"))(dataset)
    content = bytearray((dataset / DATA).read_bytes())
    content[20:40] = bytes(20)
    (dataset / DATA).write_bytes(content)
    before = snapshot(dataset)
    assert any(DATA in problem for problem in repair(dataset).left)
    assert snapshot(dataset) == before


def test_frames_with_a_column_twice_are_named_and_nothing_changed(dataset: Path) -> None:
    corners.frames(lambda table: table.append_column("action", table["action"]))(dataset)
    before = snapshot(dataset)
    assert any("action" in problem for problem in repair(dataset).left)
    assert snapshot(dataset) == before
