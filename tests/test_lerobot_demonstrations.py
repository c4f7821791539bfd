"""Prior data from LeRobot datasets: the same episodes, or one line that says what does not fit."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import numpy as np
import pytest

from learner.replay.demonstrations import DemonstrationError
from learner.replay.lerobot_demonstrations import read_lerobot
from learner.replay.lerobot_store import LeRobotStore
from tests.identifiable import ACT, OBS, Truth, make_stream, pack

KIND = {"observation_dim": OBS, "action_dim": ACT, "fps": 20}


def make_replay(folder: Path, state_dim: int | None = None) -> list[Truth]:
    truths, rows = make_stream("peg", 0, [6, 1, 9], sub_envs=1)
    with LeRobotStore(
        folder, repo_id="tests/replay", robot_type="panda", task="PickCube-v1", queue_episodes=16,
        flush_s=60.0, state_dim=state_dim, **KIND,
    ) as store:  # fmt: skip
        store.add("peg", 0, pack(rows))
    return truths


@pytest.mark.parametrize("state_dim", [None, 2])
def test_replay_of_our_own_gives_whole_episodes(state_dim: int | None, tmp_path: Path) -> None:
    truths = make_replay(tmp_path / "replay", state_dim)
    seen = read_lerobot(tmp_path / "replay", **KIND)
    assert len(seen) == 3
    for episode, truth in zip(seen, truths, strict=True):
        np.testing.assert_array_equal(episode.observations[:-1], truth.frames["observation"])
        np.testing.assert_array_equal(episode.observations[-1], truth.final)
        np.testing.assert_array_equal(episode.actions, truth.frames["action"])
        np.testing.assert_array_equal(episode.success, truth.frames["success"])


def test_foreign_dataset_loses_the_action_after_which_nothing_was_seen(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    from lerobot.datasets.lerobot_dataset import LeRobotDataset

    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    shapes = {"observation.state": OBS, "action": ACT}
    features = {name: {"dtype": "float32", "shape": (n,), "names": None} for name, n in shapes.items()}
    made = LeRobotDataset.create(
        "tests/theirs", fps=20, features=features, root=tmp_path / "theirs", use_videos=False
    )
    for length in (4, 6):
        for frame in range(length):
            numbers = {name: np.full(n, frame, np.float32) for name, n in shapes.items()}
            made.add_frame(numbers | {"task": "push"})
        made.save_episode()
    made.finalize()
    with caplog.at_level(logging.WARNING):
        seen = read_lerobot(tmp_path / "theirs", **KIND)
    assert "lacks next.success: the last frame of each episode counts as its success" in caplog.text
    assert [len(episode.actions) for episode in seen] == [3, 5]
    for episode in seen:
        assert len(episode.observations) == len(episode.actions) + 1
        assert episode.observations[:, 0].tolist() == list(range(len(episode.observations)))
        assert np.flatnonzero(episode.success).tolist() == [len(episode.actions) - 1]


def test_what_does_not_fit_is_named(tmp_path: Path) -> None:
    folder = tmp_path / "replay"
    make_replay(folder)
    for change, said in (
        ({"fps": 30}, "has fps 20, this run 30"),
        ({"observation_dim": 7}, "has observations of width 5, this run 7"),
        ({"action_dim": 7}, "has actions of width 3, this run 7"),
    ):
        with pytest.raises(DemonstrationError, match=said):
            read_lerobot(folder, **(KIND | change))
    info = json.loads((folder / "meta/info.json").read_text())
    without = {name: feature for name, feature in info["features"].items() if name != "action"}
    for change, said in (
        ({"features": without}, "lacks the columns action"),
        ({"codebase_version": "v2.1"}, "has LeRobot's format v2.1, not v3.0: convert it with"),
    ):
        (folder / "meta/info.json").write_text(json.dumps(info | change))
        with pytest.raises(DemonstrationError, match=said):
            read_lerobot(folder, **KIND)
    with pytest.raises(DemonstrationError, match="is no LeRobot dataset"):
        read_lerobot(tmp_path / "nothing", **KIND)
