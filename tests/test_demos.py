"""Demonstrations: parts that survive a stop, ManiSkill's conversion and layout, and LeRobot's.

tests/data/PickCube-v1 holds three real motion-planned trajectories (seeds 8, 2 and 9 of PickCube-v1).
"""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import time
from pathlib import Path

import h5py
import numpy as np
import pytest
from lerobot.datasets.lerobot_dataset import LeRobotDataset

from launch import demos_to_lerobot
from launch.demo_parts import PLANNED, SEEDS_PER_PART, Part, Parts, _write, converted_name, finish_part
from launch.make_demos import download, parse_arguments, take_downloaded
from learner.replay.demonstrations import read_maniskill
from tests.helpers import left_running

REAL = Path("tests/data/PickCube-v1/planned.h5")
MODE = "pd_ee_delta_pose"
PYTHON = Path(".venv-demos/bin/python")


def episodes_of(path: Path) -> list[dict]:
    return json.loads(path.with_suffix(".json").read_text())["episodes"]


def make_part(parts: Parts, number: int, chosen: list[int], lost: int = 0) -> None:
    """A part of the real trajectories `chosen`, of which the conversion lost the first `lost`."""
    fresh = parts.path(number).with_suffix(".new")
    fresh.mkdir()
    items = [(REAL, episodes_of(REAL)[i]) for i in chosen]
    _write(fresh / f"{PLANNED}.h5", items)
    if items[lost:]:
        _write(fresh / f"{converted_name(MODE)}.h5", items[lost:])
    part = Part(parts.first_seed_of(number), SEEDS_PER_PART, len(chosen), len(chosen) - lost)
    finish_part(fresh, parts.path(number), part)


def test_parts_are_merged_in_the_order_of_their_seeds_and_cut_to_what_was_asked_for(tmp_path: Path) -> None:
    parts = Parts(tmp_path, MODE, 0, "success")
    make_part(parts, 1, [2])
    make_part(parts, 0, [0, 1], lost=1)
    assert parts.merge(tmp_path, 3) == (3, 2)
    assert parts.merge(tmp_path, 2) == (2, 1)
    merged = tmp_path / "planned.h5"
    assert [item["episode_id"] for item in episodes_of(merged)] == [0, 1]
    assert [item["episode_seed"] for item in episodes_of(merged)] == [
        item["episode_seed"] for item in episodes_of(REAL)[:2]
    ]
    with h5py.File(merged) as ours, h5py.File(REAL) as real:
        assert set(ours) == {"traj_0", "traj_1"}
        assert np.array_equal(ours["traj_1/actions"][:], real["traj_1/actions"][:])
        assert set(ours["traj_1"]) == set(real["traj_1"])


def test_what_was_finished_is_kept_and_what_was_not_is_made_again(tmp_path: Path) -> None:
    parts = Parts(tmp_path, MODE, 0, "success")
    make_part(parts, 0, [0])
    make_part(parts, 2, [1])
    (parts.folder / "seeds-00000010.new").mkdir()
    again = Parts(tmp_path, MODE, 0, "success")
    assert [part.first_seed for part in again.finished()] == [0]
    assert again.path(2).is_dir()
    assert not list(again.folder.glob("*.new"))


@pytest.fixture(scope="module")
def converted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The real trajectories, laid out as ManiSkill's archives are, converted by ManiSkill's replay."""
    folder = tmp_path_factory.mktemp("demos") / "PickCube-v1"
    (folder / "motionplanning").mkdir(parents=True)
    for suffix in (".h5", ".json"):
        shutil.copy(REAL.with_suffix(suffix), folder / "motionplanning" / f"trajectory{suffix}")
    return take_downloaded(folder, MODE, episodes=2)


def test_a_downloaded_archive_becomes_states_and_the_chosen_control_mode(converted: Path) -> None:
    assert converted.name == f"planned.state.{MODE}.physx_cpu.h5"
    episodes = read_maniskill(converted)
    assert len(episodes) == 2
    for episode in episodes:
        assert episode.observations.shape == (len(episode.actions) + 1, 42)
        assert episode.actions.shape[1] == 7 and np.abs(episode.actions).max() <= 1
        assert episode.success[-1]


def test_demonstrations_become_a_dataset_that_lerobot_reads(converted: Path, tmp_path: Path) -> None:
    assert demos_to_lerobot.main([str(converted), str(tmp_path / "lerobot")]) == 0
    dataset = LeRobotDataset("local/lerobot", root=tmp_path / "lerobot")
    episodes = read_maniskill(converted)
    assert dataset.num_frames == sum(len(episode.actions) for episode in episodes)
    last = dataset[dataset.num_frames - 1]
    assert last["task"] == "PickCube-v1"
    assert (bool(last["next.done"]), bool(last["next.success"]), float(last["next.reward"])) == (
        True,
        True,
        1.0,
    )
    assert demos_to_lerobot.main([str(converted), str(tmp_path / "lerobot")]) == 1


def test_a_task_without_an_archive_is_named_beside_those_that_have_one() -> None:
    with pytest.raises(SystemExit, match="PlaceSphere-v1 has no demonstrations to download.*PickCube-v1"):
        download(parse_arguments(["task=PlaceSphere-v1", "source=download"]))


def test_a_wrong_key_is_an_error(capsys) -> None:
    with pytest.raises(SystemExit):
        parse_arguments(["episods=3"])
    assert "episods" in capsys.readouterr().err
    assert parse_arguments(["lerobot=true", "episodes=3"]).lerobot
    assert not parse_arguments(["lerobot=false"]).lerobot


@pytest.mark.slow
@pytest.mark.timeout(2400)
@pytest.mark.skipif(not PYTHON.exists(), reason="bash launch/demos.sh makes .venv-demos")
def test_a_planning_that_was_stopped_goes_on_and_ends_with_what_one_go_gives(tmp_path: Path) -> None:
    def command(out: str, processes: int) -> list[str]:
        words = ["task=PickCube-v1", "episodes=15", f"processes={processes}", f"out={tmp_path / out}"]
        return [str(PYTHON), "-m", "launch.make_demos", *words]

    stopped = subprocess.Popen(command("a", 2), stdout=subprocess.DEVNULL, start_new_session=True)
    parts = Parts(tmp_path / "a" / "PickCube-v1", MODE, 0, "success")
    deadline = time.monotonic() + 600
    while not parts.finished() and stopped.poll() is None and time.monotonic() < deadline:
        time.sleep(0.1)
    stopped.send_signal(signal.SIGTERM)
    stopped.wait(timeout=120)
    assert not left_running(stopped.pid)
    for out, processes in (("a", 2), ("b", 1)):
        done = subprocess.run(command(out, processes), capture_output=True, text=True, timeout=600)
        assert done.returncode == 0, done.stderr
        assert f"conversion to {MODE}: 15 of 15 (100 %)" in done.stderr
    one, other = (
        read_maniskill(tmp_path / out / "PickCube-v1" / f"{converted_name(MODE)}.h5") for out in "ab"
    )
    assert len(one) == len(other) == 15
    for ours, theirs in zip(one, other, strict=True):
        assert np.array_equal(ours.actions, theirs.actions)
