"""Whatever ends the writer, wherever: the dataset is whole, and sent again, every row is there once."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.replay_faults import (
    Fault,
    check,
    check_rows_are_there_once,
    context,
    make_faults,
    steps,
    survive,
    write,
)

# How a writer that meets a fault may end.
ENDS = {
    "kill": {"killed"}, "torn": {"killed"}, "full": {"disk full"}, "late": {"killed", "written"},
    "limit": {"disk full", "written"},
}  # fmt: skip


@pytest.fixture(autouse=True)
def no_hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")


def test_steps_that_can_be_interrupted_are_all_of_them(tmp_path: Path) -> None:
    assert {"open", "close", "write", "move", "link", "sync", "exchange", "unlink", "remove"} <= {
        *steps(tmp_path / "replay")
    }


@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    "fault",
    [
        Fault("kill", 30), Fault("kill", 90), Fault("torn", 250), Fault("kill", 611), Fault("full", 33),
        Fault("full", 500), Fault("late", 0.2), Fault("limit", 4096), Fault("limit", 20480),
    ],
    ids=str,
)  # fmt: skip
def test_replay_survives(fault: Fault, tmp_path: Path) -> None:
    assert survive(tmp_path / "replay", fault, context()) in ENDS[fault.kind]


def test_what_is_broken_or_missing_or_there_twice_is_found(tmp_path: Path) -> None:
    folder = tmp_path / "replay"
    write(folder)
    assert check(folder) > 1
    check_rows_are_there_once(folder)
    path = max((folder / "data").rglob("*.parquet"))
    table = pq.read_table(path)
    for rows in (table.slice(1), pa.concat_tables([table, table.slice(0, 1)])):
        pq.write_table(rows, path)
        with pytest.raises(AssertionError):
            check_rows_are_there_once(folder)
        with pytest.raises(AssertionError):
            check(folder)
    path.unlink()
    with pytest.raises(AssertionError):
        check(folder)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_replay_survives_two_hundred_faults(tmp_path: Path) -> None:
    total = len(steps(tmp_path / "dry"))
    faults = make_faults(200, total)
    assert {fault.kind for fault in faults} == ENDS.keys()
    for fault in faults:
        assert survive(tmp_path / str(fault), fault, context()) in ENDS[fault.kind]
