"""ManiSkill demonstrations as LeRobot datasets and back, through LeRobot's own reader and writer."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from lerobot.datasets.lerobot_dataset import LeRobotDataset

from learner.replay.demonstrations import DemonstrationError, read_maniskill
from learner.replay.lerobot_demonstrations import read_lerobot, write_lerobot

DEMOS = Path("bases/PickCube-v1/demos.h5")


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("demos") / "pick_cube"
    write_lerobot(folder, read_maniskill(DEMOS, 3), task="PickCube-v1", robot_type="panda", fps=20)
    return folder


def test_lerobot_reads_reward_done_and_success_of_every_frame(dataset: Path) -> None:
    loaded = LeRobotDataset("local/pick_cube", root=dataset)
    episodes = read_maniskill(DEMOS, 3)
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
        read_maniskill(DEMOS, 3), read_lerobot(str(dataset), ["observation.state"]), strict=True
    ):
        assert np.array_equal(before.observations[:-1], after.observations[:-1])
        assert np.array_equal(after.observations[-1], before.observations[-2])
        assert np.array_equal(before.actions, after.actions)
        assert np.array_equal(before.success, after.success)


def test_a_missing_feature_is_named_beside_those_that_are_there(dataset: Path) -> None:
    with pytest.raises(
        DemonstrationError, match="no feature observation.environment_state.*observation.state"
    ):
        read_lerobot(str(dataset), ["observation.environment_state"])


def test_nothing_is_overwritten(dataset: Path) -> None:
    with pytest.raises(DemonstrationError, match="exists already"):
        write_lerobot(dataset, read_maniskill(DEMOS, 1), task="t", robot_type="panda", fps=20)
