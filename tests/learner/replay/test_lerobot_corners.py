"""Datasets as people have them: verify says what LeRobot's own reader needs, and nothing more."""

import shutil
from pathlib import Path

import pytest

from learner.replay.tools.verify import examine
from tests.support.corners import BROKEN, WHOLE
from tests.support.lerobot_datasets import why_lerobot_fails


@pytest.fixture
def dataset(lerobot_dataset: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(lerobot_dataset, tmp_path / "dataset"))


@pytest.mark.parametrize("name", BROKEN)
def test_what_lerobot_cannot_read_is_said(name: str, dataset: Path, tmp_path: Path) -> None:
    change, said = BROKEN[name]
    change(dataset)
    problems = examine(dataset).problems
    assert any(said in problem for problem in problems), problems
    assert why_lerobot_fails(dataset, tmp_path / "cache")


@pytest.mark.parametrize("name", WHOLE)
def test_what_lerobot_reads_is_whole(name: str, dataset: Path, tmp_path: Path) -> None:
    change, said = WHOLE[name]
    change(dataset)
    found = examine(dataset)
    assert found.problems == []
    assert said in "\n".join(found.remarks)
    assert why_lerobot_fails(dataset, tmp_path / "cache") is None
