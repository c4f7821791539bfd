"""Datasets as people have them: verify says what LeRobot's own reader needs, and nothing more."""

import itertools
import os
import shutil
import socket
import tempfile
from pathlib import Path

import huggingface_hub
import numpy as np
import pytest

from launch.show.viz import VizError, read_replay
from learner.replay.tools.lerobot_reader import why_not_read
from learner.replay.tools.repair import repair
from learner.replay.tools.verify import examine
from tests.support.corners import BROKEN, LFS, WHOLE, column, info
from tests.support.lerobot_datasets import DATA, EPISODES, VIDEO, make_lerobot, why_lerobot_fails
from tests.support.program import residual_rl


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
    assert repair(dataset).left == ()


OTHERS = {
    # LeRobot's writer cannot add an episode of one frame to such a dataset.
    "state_in_two_dimensions": {"lengths": (4, 3), "grid": ("float32", (2, 3), np.ones((2, 3), np.float32))},
    "one_frame_each": {"lengths": (1, 1, 1)},
    "with_words": {"note": ("string", (1,), "hello")},
    "several_kinds": {
        "flag": ("bool", (1,), np.ones(1, bool)),
        "count": ("int64", (1,), np.ones(1, np.int64)),
    },
    "pictures": {"pictures": "image"},
    "videos": {"pictures": "video"},
}


@pytest.mark.parametrize("name", OTHERS)
def test_what_lerobots_writer_writes_is_whole(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = make_lerobot(tmp_path / name, **OTHERS[name])
    assert why_lerobot_fails(folder, tmp_path / "cache") is None
    found = examine(folder)
    assert (found.problems, found.remarks) == ([], [])
    assert repair(folder).written == ()
    assert residual_rl("replay", "info", str(folder)) == 0
    assert "frames an episode" in capsys.readouterr().out


def test_a_dataset_without_episodes_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    # LeRobot's create() without a recording: its reader then asks the Hub (lerobot issue 3857).
    folder = make_lerobot(tmp_path / "empty", lengths=())
    assert why_lerobot_fails(folder, tmp_path / "cache")
    assert examine(folder).problems == ["it holds no episode: LeRobot opens no dataset without one"]
    assert repair(folder).left == tuple(examine(folder).problems)
    assert residual_rl("replay", "info", str(folder)) == 0
    assert "unknown" in capsys.readouterr().out


VIDEOS = {
    "missing": (lambda folder: (folder / VIDEO).unlink(), f"{VIDEO} is missing"),
    "of zero bytes": (lambda folder: (folder / VIDEO).write_bytes(b""), f"{VIDEO}: empty: it has 0 bytes"),
    "a pointer": (lambda folder: (folder / VIDEO).write_bytes(LFS), f"{VIDEO}: a git-LFS pointer"),
    # As in a published dataset (lerobot issue 2429).
    "without a place": (
        column("videos/observation.images.top/chunk_index", lambda rows: [None, *rows[1:]], EPISODES),
        "videos/observation.images.top/chunk_index has 1 empty values",
    ),
    "too short": (
        column(
            "videos/observation.images.top/from_timestamp", lambda rows: [at + 5.0 for at in rows], EPISODES
        ),
        f"{VIDEO} has 8 frames, episodes in it end at 108",
    ),
    "at other times": (
        column("timestamp", lambda rows: [at + 0.02 for at in rows]),
        "the timestamp at frame 0 is not frame_index / fps",
    ),
    "nowhere": (info(video_path=None), "meta/info.json: video_path None does not say where videos are"),
}


@pytest.mark.parametrize("name", VIDEOS)
def test_videos_that_lerobot_cannot_show_are_said(name: str, lerobot_videos: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(lerobot_videos, tmp_path / "videos"))
    change, said = VIDEOS[name]
    change(folder)
    assert any(said in line for line in examine(folder).problems)
    assert why_lerobot_fails(folder, tmp_path / "cache")
    assert any(said in line for line in repair(folder).left)


def test_nothing_is_asked_of_the_network(dataset: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def connect(*_: object) -> None:
        pytest.fail("the network was asked")

    monkeypatch.setattr(socket.socket, "connect", connect)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    assert examine(dataset).problems == []
    assert [*why_not_read(dataset, 3)] == []
    (dataset / "meta/tasks.parquet").unlink()
    assert "OfflineModeIsEnabled" in next(why_not_read(dataset, 3))
    assert not huggingface_hub.constants.HF_HUB_OFFLINE


def test_nothing_is_left_in_the_users_cache(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    assert examine(dataset).problems == []
    assert not (tmp_path / "cache").exists()


def nothing(folder: Path) -> None:
    """No folder of this name."""


def old_format(folder: Path) -> None:
    make_parents(folder / "meta/info.json").write_text(
        '{"codebase_version": "v2.1", "fps": 20, "features": {}}'
    )


def make_parents(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


UNUSABLE = {
    "nothing": (nothing, "is no LeRobot dataset: there is no such folder"),
    "a file": (lambda folder: folder.write_bytes(b""), "is no LeRobot dataset: it is a file"),
    "an empty folder": (lambda folder: folder.mkdir(), "is no LeRobot dataset: it has no meta/info.json"),
    "an empty meta": (lambda folder: (folder / "meta").mkdir(parents=True), "it has no meta/info.json"),
    "v2.1": (old_format, "convert it with python -m lerobot.scripts.convert_dataset_v21_to_v30 --repo-id="),
}


@pytest.mark.parametrize("name", UNUSABLE)
@pytest.mark.parametrize("verb", ["verify", "repair", "info"])
def test_what_is_no_dataset_is_one_line(
    verb: str, name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "a dätaset = mine"
    make, said = UNUSABLE[name]
    make(folder)
    assert residual_rl("replay", verb, str(folder)) == 2
    heard = capsys.readouterr()
    assert said in heard.err and "dätaset = mine" in heard.err and heard.err.count("\n") == 1


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
@pytest.mark.parametrize("name", ["", "data", DATA, "meta/info.json"])
@pytest.mark.parametrize("verb", ["verify", "repair", "info"])
def test_what_may_not_be_read_is_one_line(
    verb: str, name: str, dataset: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (dataset / name).chmod(0)
    for parent in itertools.takewhile(lambda folder: str(folder) != tempfile.gettempdir(), dataset.parents):
        parent.chmod(parent.stat().st_mode | 0o111)
    os.seteuid(65534)
    try:
        assert residual_rl("replay", verb, str(dataset)) == 2
    finally:
        os.seteuid(0)
    heard = capsys.readouterr().err
    assert "cannot be read: Permission denied" in heard and heard.count("\n") == 1


@pytest.mark.parametrize("name", BROKEN)
def test_info_and_viz_say_what_they_can(
    name: str, dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    change, _ = BROKEN[name]
    change(dataset)
    run.mkdir()
    shutil.move(dataset, run / "replay")
    assert residual_rl("replay", "info", str(run / "replay")) == 0
    try:
        outcomes, _ = read_replay(run)
    except VizError as error:
        assert "residual-rl replay verify" in str(error) or "no episode yet" in str(error)
    else:
        shown = len(outcomes), sum(outcome.frames for outcome in outcomes)
        assert shown == (3, 8) or name == "one row too few"
