"""Laws of the bases that a run keeps: the best one and the newest, over restarts."""

import os
from pathlib import Path

import pytest

from actor.policy.contract import CheckpointError
from learner.checkpoints import bases as kept
from learner.checkpoints.bases import PublishedBases
from protocol.messages import Evaluation


def evaluation(version: int, successes: int) -> Evaluation:
    return Evaluation(
        session=1, sequence=version, policy="full", version=version, wall_s=1.0,
        successes=[i < successes for i in range(10)], seeds=list(range(10)),
    )  # fmt: skip


def written(folder: Path) -> None:
    (folder / "weights").write_bytes(bytes(1000))


def published(folder: Path, *versions: int) -> PublishedBases:
    bases = PublishedBases(folder)
    for version in versions:
        bases.add(version, written)
    return bases


def test_an_evaluation_of_a_base_that_is_gone_is_of_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bases = published(tmp_path, 1)
    bases.consider([evaluation(1, 5)])
    monkeypatch.setattr(kept, "_MOST_MB", 0.0)
    for version in (4, 6, 8):
        bases.add(version, written)
    assert bases.versions() == [1, 6, 8]
    bases.consider([evaluation(5, 10)])  # of version 4
    assert bases.score is not None and (bases.score.version, bases.score.success) == (1, 0.5)
    bases.consider([evaluation(7, 9)])
    assert bases.score.version == 6 and os.readlink(bases.place) == "v6"


def test_what_best_json_says_is_what_best_links_to_after_a_kill(tmp_path: Path) -> None:
    bases = published(tmp_path, 1, 2)
    bases.consider([evaluation(1, 5), evaluation(2, 6)])
    bases.place.unlink()
    bases.place.symlink_to("v1")
    again = PublishedBases(tmp_path)
    assert again.score == bases.score and os.readlink(again.place) == "v2"


def test_a_score_is_replaced_as_a_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bases = published(tmp_path, 1)
    bases.consider([evaluation(1, 5)])

    def killed(place: Path) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("config.files.sync", killed)
    with pytest.raises(KeyboardInterrupt):
        bases.consider([evaluation(1, 6)])
    again = PublishedBases(tmp_path)
    assert again.score is not None and again.score.success == 0.5


def test_a_base_that_cannot_be_written_is_told_in_one_line(tmp_path: Path) -> None:
    def full(folder: Path) -> None:
        raise OSError(28, "No space left on device")

    with pytest.raises(CheckpointError, match="bases cannot be written: .*No space left"):
        PublishedBases(tmp_path).add(1, full)
