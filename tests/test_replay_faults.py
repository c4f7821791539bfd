"""Whatever ends the writer, wherever: the dataset is whole, and sent again, every row is there once."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.replay_faults import Fault, context, make_faults, steps, survive


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
        Fault("full", 500), Fault("late", 0.2), Fault("limit", 3000), Fault("limit", 20000),
    ],
    ids=str,
)  # fmt: skip
def test_replay_survives(fault: Fault, tmp_path: Path) -> None:
    survive(tmp_path / "replay", fault, context())


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_replay_survives_two_hundred_faults(tmp_path: Path) -> None:
    total = len(steps(tmp_path / "dry"))
    for fault in make_faults(200, total):
        survive(tmp_path / str(fault), fault, context())
