"""Pictures for a person, beside what a run needs."""

import logging
from pathlib import Path

import numpy as np
import pytest
import torch

from actor.simulators.pictured import PicturedEnvironment
from tests.support.fakes import ScriptedEnvironment


class Drawn(ScriptedEnvironment):
    """As gymnasium's tasks: draws nothing before the first reset."""

    images, drawable = {}, False

    def reset(self, seed: int | None = None) -> torch.Tensor:
        self.drawable = True
        return super().reset(seed)

    def picture(self) -> np.ndarray:
        assert self.drawable
        return np.zeros((8, 8, 3), np.uint8)


def test_the_file_has_the_newest_picture_and_goes_at_the_end(tmp_path: Path) -> None:
    envs = PicturedEnvironment(Drawn([[5]]), tmp_path / "live/a.jpg")
    envs.reset()
    assert (tmp_path / "live/a.jpg").read_bytes().startswith(b"\xff\xd8")
    envs.close()
    assert not list((tmp_path / "live").iterdir())


def test_a_picture_that_cannot_be_written_stops_nothing_and_is_said_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(self: Path, content: bytes) -> int:
        raise OSError(28, "No space left on device")

    envs = PicturedEnvironment(Drawn([[5]]), tmp_path / "live/a.jpg")
    envs.reset()
    monkeypatch.setattr(Path, "write_bytes", full)
    with caplog.at_level(logging.WARNING):
        frames = [envs.step(torch.zeros(1, 2)).observation[0, 0].item() for _ in range(3)]
    assert frames == [101, 102, 103]
    assert [record.message for record in caplog.records] == [
        "no pictures for the page: [Errno 28] No space left on device"
    ]
