"""ManiSkill demonstrations as LeRobot datasets and back, through LeRobot's own reader and writer."""

import json
from pathlib import Path

import numpy as np
import pytest
from lerobot.datasets.lerobot_dataset import LeRobotDataset

from learner.replay.dataset.store import LeRobotStore
from learner.replay.prior.error import DemonstrationError
from learner.replay.prior.lerobot import write_lerobot
from learner.replay.prior.read import Wanted, read_demonstrations
from tests.support.identifiable import ACT, OBS, Truth, make_stream, pack

DEMOS = Path("bases/PickCube-v1/demos.h5")


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("demos") / "pick_cube"
    write_lerobot(
        folder, read_demonstrations(DEMOS).episodes[:3], task="PickCube-v1", robot_type="panda", fps=20
    )
    return folder


def test_lerobot_reads_reward_done_and_success_of_every_frame(dataset: Path) -> None:
    loaded = LeRobotDataset("local/pick_cube", root=dataset)
    episodes = read_demonstrations(DEMOS).episodes[:3]
    assert loaded.num_episodes == 3
    assert loaded.num_frames == sum(len(episode.actions) for episode in episodes)
    assert loaded.fps == 20 and loaded.meta.robot_type == "panda"
    frames = [loaded[i] for i in range(loaded.num_frames)]
    first = episodes[0]
    for i, action in enumerate(first.actions):
        assert np.array_equal(frames[i]["observation.state"].numpy(), first.observations[i])
        assert np.array_equal(frames[i]["action"].numpy(), action)
        assert bool(frames[i]["next.success"]) == bool(first.success[i])
        assert float(frames[i]["next.reward"]) == float(first.success[i])
        assert bool(frames[i]["next.done"]) == (i == len(first.actions) - 1)
        assert frames[i]["task"] == "PickCube-v1"


def test_demonstrations_come_back_as_they_were_but_for_the_last_observation(dataset: Path) -> None:
    for before, after in zip(
        read_demonstrations(DEMOS).episodes[:3],
        read_demonstrations(dataset, Wanted(observation=["observation.state"])).episodes,
        strict=True,
    ):
        assert np.array_equal(before.observations[:-1], after.observations[:-1])
        assert np.array_equal(after.observations[-1], before.observations[-2])
        assert np.array_equal(before.actions, after.actions)
        assert np.array_equal(before.success, after.success)


def test_a_missing_feature_is_named_beside_those_that_are_there(dataset: Path) -> None:
    with pytest.raises(
        DemonstrationError, match="no feature observation.environment_state.*observation.state"
    ):
        read_demonstrations(dataset, Wanted(observation=["observation.environment_state"]))


def test_nothing_is_overwritten(dataset: Path) -> None:
    with pytest.raises(DemonstrationError, match="exists already"):
        write_lerobot(dataset, read_demonstrations(DEMOS).episodes[:1], task="t", robot_type="panda", fps=20)


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
    seen = read_demonstrations(tmp_path / "replay").episodes
    assert len(seen) == 3
    for episode, truth in zip(seen, truths, strict=True):
        np.testing.assert_array_equal(episode.observations[:-1], truth.frames["observation"])
        np.testing.assert_array_equal(episode.observations[-1], truth.final)
        np.testing.assert_array_equal(episode.actions, truth.frames["action"])
        np.testing.assert_array_equal(episode.success, truth.frames["success"])


def test_foreign_dataset_repeats_its_last_observation_and_ends_in_success_if_one_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
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
    with pytest.raises(
        DemonstrationError, match="no success and no reward.*demos_without_success=last_frame"
    ):
        read_demonstrations(tmp_path / "theirs")
    seen = read_demonstrations(tmp_path / "theirs", Wanted(fps=20, last_frame_succeeds=True)).episodes
    assert [len(episode.actions) for episode in seen] == [4, 6]
    for episode in seen:
        assert len(episode.observations) == len(episode.actions) + 1
        frames = list(range(len(episode.actions)))
        assert episode.observations[:, 0].tolist() == [*frames, frames[-1]]
        assert np.flatnonzero(episode.success).tolist() == [len(episode.actions) - 1]


def test_what_does_not_fit_is_named(tmp_path: Path) -> None:
    folder = tmp_path / "replay"
    make_replay(folder)
    with pytest.raises(DemonstrationError, match="has fps 20, this run 30"):
        read_demonstrations(folder, Wanted(fps=30))
    info = json.loads((folder / "meta/info.json").read_text())
    without = {name: feature for name, feature in info["features"].items() if name != "action"}
    for change, said in (
        ({"features": without}, "has no feature action"),
        ({"codebase_version": "v2.1"}, "has LeRobot's format v2.1, not v3.0: convert it with"),
    ):
        (folder / "meta/info.json").write_text(json.dumps(info | change))
        with pytest.raises(DemonstrationError, match=said):
            read_demonstrations(folder)
    with pytest.raises(DemonstrationError, match="no demonstrations at"):
        read_demonstrations(tmp_path / "nothing")
