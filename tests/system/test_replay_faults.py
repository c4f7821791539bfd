"""Whatever ends the writer, wherever: the dataset is whole, and sent again, every row is there once."""

from pathlib import Path
from typing import Any
from unittest import mock

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from learner.replay.dataset import writer as lerobot_writer
from tests.system.replay_faults import (
    STEPS,
    Fault,
    Scene,
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
    assert {*steps(tmp_path / "replay")} >= {
        "open", "write", "os.link", "os.mkdir", "os.remove", "os.rename", "shutil.rmtree",
    }  # fmt: skip


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


def steps_of_the_first_drop(folder: Path, scene: Scene) -> range:
    """Counted as `Fault` does: from the first file that is written anew to the first that goes."""
    seen: list[str] = []
    drops: list[range] = []
    real = lerobot_writer.drop_oldest

    def watched(*arguments: Any) -> Any:
        first = len(seen) + 1
        state = real(*arguments)
        drops.append(range(first, len(seen) + 1))
        return state

    with (
        mock.patch.object(lerobot_writer, "drop_oldest", watched),
        STEPS.watched(folder, lambda operation, path: seen.append(operation)),
    ):
        write(folder, scene)
    return drops[0]


@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("kind", "images", "share"),
    [("kill", None, 0.3), ("torn", "video", 0.8), ("full", None, 0.6), ("kill", "video", 1.1)],
)
def test_replay_survives_while_the_oldest_episodes_go(
    kind: str, images: str | None, share: float, tmp_path: Path
) -> None:
    scene = Scene(images, max_frames=60)
    (tmp_path / "dry").mkdir()
    steps = steps_of_the_first_drop(tmp_path / "dry/replay", scene)
    fault = Fault(kind, steps.start + int(share * len(steps)))
    assert survive(tmp_path / "replay", fault, context(), scene) in ENDS[kind]


@pytest.mark.timeout(600)
@pytest.mark.parametrize("fault", [Fault("kill", 60), Fault("kill", 301), Fault("torn", 160)], ids=str)
def test_what_is_left_out_and_what_was_counted_survive_too(fault: Fault, tmp_path: Path) -> None:
    scene = Scene(successes_alone=True)
    assert survive(tmp_path / "replay", fault, context(), scene) in ENDS[fault.kind]


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
    faults = make_faults(200, steps(tmp_path / "dry"))
    assert {fault.kind for fault in faults} == ENDS.keys()
    for fault in faults:
        assert survive(tmp_path / str(fault), fault, context()) in ENDS[fault.kind]
