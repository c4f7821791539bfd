"""Demonstrations: parts that survive a stop, ManiSkill's conversion and layout, and LeRobot's.

tests/data/PickCube-v1 holds three real motion-planned trajectories (seeds 8, 2 and 58 of PickCube-v1).
"""

import contextlib
import fcntl
import functools
import json
import signal
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import h5py
import msgspec
import numpy as np
import pytest
from lerobot.datasets.lerobot_dataset import LeRobotDataset
from mani_skill.trajectory import replay_trajectory
from mani_skill.utils import download_demo

from actor.simulators.headless import prepare_simulator
from config.demos import compose_demos
from config.limits import usable_processors
from launch.demos.disturbance import Pushes, failures_forgotten
from launch.demos.files import to_lerobot
from launch.demos.make_demos import DemosError, download, read_settings
from launch.demos.parts import PLANNED, SEEDS_PER_PART, Part, Parts, _write, converted_name, finish_part
from launch.demos.plan import convert
from learner.replay.prior.error import DemonstrationError
from learner.replay.prior.read import read_demonstrations
from tests.support.helpers import left_running

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
    make_part(parts, 0, [1, 0], lost=1)  # seeds 2 and 8, then 58
    assert parts.merge(tmp_path, 3) == (3, 2)
    assert parts.merge(tmp_path, 2) == (3, 2)
    assert parts.merge(tmp_path, 1) == (2, 1)
    merged = tmp_path / "planned.h5"
    assert [item["episode_id"] for item in episodes_of(merged)] == [0, 1]
    assert [item["episode_seed"] for item in episodes_of(merged)] == [
        item["episode_seed"] for item in (episodes_of(REAL)[1], episodes_of(REAL)[0])
    ]
    with h5py.File(merged) as ours, h5py.File(REAL) as real:
        assert set(ours) == {"traj_0", "traj_1"}
        assert np.array_equal(ours["traj_1/actions"][:], real["traj_0/actions"][:])
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


def test_demonstrations_are_read_and_merged_where_the_volume_refuses_locks(tmp_path: Path) -> None:
    parts = Parts(tmp_path, MODE, 0, "success")
    make_part(parts, 0, [0])
    with contextlib.ExitStack() as held:
        for path in parts.folder.rglob("*.h5"):
            # HDF5's own lock, which it would ask for, fails as on such a volume.
            fcntl.flock(held.enter_context(path.open("rb")), fcntl.LOCK_EX)
            with pytest.raises(OSError, match="unable to lock file"):
                h5py.File(path, "r", locking=True)
        assert parts.merge(tmp_path, 1) == (1, 1)
        assert len(h5py.File(tmp_path / "planned.h5", locking=False)) == 1
    shipped = Path("bases/PickCube-v1/demos.h5")
    with shipped.open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        assert len(read_demonstrations(shipped).episodes[:2]) == 2


@pytest.fixture(scope="module")
def archives(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder that is served where ManiSkill's download looks: the real trajectories of PickCube, laid out
    as its archives are, something that is no archive for StackCube, and nothing else."""
    folder = tmp_path_factory.mktemp("served")
    with zipfile.ZipFile(folder / "PickCube-v1.zip", "w") as archive:
        for suffix in (".h5", ".json"):
            name = f"PickCube-v1/motionplanning/trajectory{suffix}"
            archive.write(REAL.with_suffix(suffix), name)
    (folder / "StackCube-v1.zip").write_bytes(b"no archive")
    handler = functools.partial(SimpleHTTPRequestHandler, directory=str(folder))
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("no_proxy", "127.0.0.1")
        for task, source in download_demo.DATASET_SOURCES.items():
            url = f"http://127.0.0.1:{server.server_port}/{task}.zip?download=true"
            patch.setattr(source, "raw_dataset_url", url)
        yield folder
    server.shutdown()
    server.server_close()


def settings_of(*words: str) -> SimpleNamespace:
    """What the process in the planner's environment gets to know."""
    return read_settings(msgspec.json.encode(compose_demos(words)).decode())


def downloading(task: str, out: Path) -> SimpleNamespace:
    return settings_of(f"task={task}", "source=download", "episodes=2", f"out={out}")


@pytest.fixture(scope="module")
def converted(archives: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Downloaded by ManiSkill's own code, converted by ManiSkill's replay."""
    return download(downloading("PickCube-v1", tmp_path_factory.mktemp("demos")))


def test_a_downloaded_archive_becomes_states_and_the_chosen_control_mode(converted: Path) -> None:
    assert converted.name == f"planned.state.{MODE}.physx_cpu.h5"
    episodes = read_demonstrations(converted).episodes
    assert len(episodes) == 2
    for episode in episodes:
        assert episode.observations.shape == (len(episode.actions) + 1, 42)
        assert episode.actions.shape[1] == 7 and np.abs(episode.actions).max() <= 1
        assert episode.success[-1]


def test_demonstrations_become_a_dataset_that_lerobot_reads(converted: Path, tmp_path: Path) -> None:
    to_lerobot(converted, tmp_path / "lerobot", last_frame_succeeds=False)
    dataset = LeRobotDataset("local/lerobot", root=tmp_path / "lerobot")
    episodes = read_demonstrations(converted).episodes
    assert dataset.num_frames == sum(len(episode.actions) for episode in episodes)
    last = dataset[dataset.num_frames - 1]
    assert last["task"] == "PickCube-v1"
    assert (bool(last["next.done"]), bool(last["next.success"]), float(last["next.reward"])) == (
        True,
        True,
        1.0,
    )
    with pytest.raises(DemonstrationError):
        to_lerobot(converted, tmp_path / "lerobot", last_frame_succeeds=False)


@pytest.mark.parametrize("task", ["StackCube-v1", "PushCube-v1"])
def test_an_archive_that_is_broken_or_missing_is_one_line(task: str, archives: Path, tmp_path: Path) -> None:
    with pytest.raises(DemosError, match="could not be downloaded: "):
        download(downloading(task, tmp_path))


def test_a_task_without_an_archive_is_named_beside_those_that_have_one() -> None:
    with pytest.raises(DemosError, match="PlaceSphere-v1 has no demonstrations to download.*PickCube-v1"):
        download(settings_of("task=PlaceSphere-v1", "source=download"))


def test_settings_arrive_as_they_were_checked(tmp_path: Path) -> None:
    settings = settings_of("lerobot=true", "episodes=3", f"out={tmp_path}")
    assert (settings.lerobot, settings.episodes, settings.out) == (True, 3, tmp_path)
    assert settings.processes == usable_processors()


@pytest.mark.slow
@pytest.mark.timeout(2400)
@pytest.mark.skipif(not PYTHON.exists(), reason="bash launch/demos.sh makes .venv-demos")
def test_a_planning_that_was_stopped_goes_on_and_ends_with_what_one_go_gives(tmp_path: Path) -> None:
    def command(out: str, processes: int) -> list[str]:
        words = ["task=PickCube-v1", "episodes=15", f"processes={processes}", f"out={tmp_path / out}"]
        return [sys.executable, "-m", "launch", "demos", *words]

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
        assert f"conversion to {MODE}: 15 of 15 (100 %)" in done.stdout
    one, other = (
        read_demonstrations(tmp_path / out / "PickCube-v1" / f"{converted_name(MODE)}.h5").episodes
        for out in "ab"
    )
    assert len(one) == len(other) == 15
    for ours, theirs in zip(one, other, strict=True):
        assert np.array_equal(ours.actions, theirs.actions)


def test_pushes_come_with_the_size_that_was_asked_for_and_spare_some_episodes() -> None:
    pushes = Pushes(0.2, seed=1)
    episodes = []
    for _ in range(400):
        pushes.begin_episode()
        episodes.append(np.stack([pushes.next(6) for _ in range(100)]))
    quiet = np.mean([not episode.any() for episode in episodes])
    moved = np.concatenate(episodes)
    moved = moved[moved.any(axis=1)]
    assert 0.14 < quiet < 0.26
    assert 0.18 < moved.std() < 0.22 and abs(moved.mean()) < 0.02


@pytest.fixture
def planned(tmp_path: Path) -> Path:
    """The three real plans, to be converted here."""
    path = tmp_path / "part" / f"{PLANNED}.h5"
    path.parent.mkdir()
    _write(path, [(REAL, item) for item in episodes_of(REAL)])
    described = json.loads(path.with_suffix(".json").read_text())
    described["env_info"]["env_kwargs"]["render_backend"] = prepare_simulator()
    path.with_suffix(".json").write_text(json.dumps(described))
    return path


def test_a_plan_whose_conversion_fails_leaves_nothing_in_the_next_one(planned: Path) -> None:
    with h5py.File(planned, "r+", locking=False) as file:
        file["traj_1/actions"][...] = file["traj_1/actions"][0]  # stands still
    convert(planned, MODE, "success")
    kept = episodes_of(planned.with_name(f"{converted_name(MODE)}.h5"))
    lengths = {item["episode_seed"]: item["elapsed_steps"] for item in episodes_of(planned)}
    failed = episodes_of(planned)[1]["episode_seed"]
    assert [item["episode_seed"] for item in kept] == [seed for seed in lengths if seed != failed]
    assert all(item["elapsed_steps"] == lengths[item["episode_seed"]] for item in kept)


def test_observations_in_parts_are_put_together_as_the_simulator_does(planned: Path, converted: Path) -> None:
    """ManiSkill's own conversion of real plans, as it comes in groups, and flat."""
    kind = replay_trajectory.Args(
        str(planned), "physx_cpu", obs_mode="state_dict", target_control_mode=MODE, use_first_env_state=True,
        save_traj=True,
    )  # fmt: skip
    with failures_forgotten():
        replay_trajectory.main(kind)
    parts = read_demonstrations(planned.with_name(f"{PLANNED}.state_dict.{MODE}.physx_cpu.h5")).episodes
    assert len(parts) == 3
    for one, other in zip(read_demonstrations(converted).episodes, parts, strict=False):
        np.testing.assert_array_equal(one.observations, other.observations)
        np.testing.assert_array_equal(one.actions, other.actions)


def test_a_disturbed_conversion_records_the_way_back_and_what_was_executed(planned: Path) -> None:
    """ManiSkill's own conversion of three real plans: what leads from state to state is `executed`."""
    convert(planned, MODE, "all", noise=0.15, seed=1)
    episodes = read_demonstrations(planned.with_name(f"{converted_name(MODE)}.h5")).episodes
    assert len(episodes) == 3
    off = np.concatenate([episode.taken - episode.actions for episode in episodes])
    pushed = np.abs(off).max(axis=1) > 1e-3
    assert 0.05 < pushed.mean() < 0.8 and not off[:, 6].any()  # the gripper is left alone
    moves = np.concatenate([np.diff(episode.observations[:, 18:21], axis=0) for episode in episodes])
    taken, wanted = (
        np.concatenate([getattr(episode, name)[:, :3] for episode in episodes])[pushed]
        for name in ("taken", "actions")
    )
    explained = [_explained(actions, moves[pushed]) for actions in (taken, wanted)]
    assert explained[0] > explained[1] + 0.1, explained


def _explained(actions: np.ndarray, moves: np.ndarray) -> float:
    """Share of the movement's variance that the actions explain linearly."""
    left = moves - actions @ np.linalg.lstsq(actions, moves, rcond=None)[0]
    return float(1 - left.var() / moves.var())


def test_planning_imports_only_what_its_own_environment_has() -> None:
    script = """
import sys
from importlib.metadata import packages_distributions
from pathlib import Path

lock = Path("launch/env_demos/requirements.lock").read_text().lower().replace("_", "-")
there = {line.partition("==")[0] for line in lock.splitlines()} | {"residual-rl"}
owners = packages_distributions()

class Missing:
    def find_spec(self, name, path=None, target=None):
        of = {owner.lower().replace("_", "-") for owner in owners.get(name, [])}
        if of and not of & there:
            raise ModuleNotFoundError(f"no {name} in the environment of demonstrations", name=name)

sys.meta_path.insert(0, Missing())
try:
    import hydra
except ModuleNotFoundError:
    import launch.demos.make_demos
    import launch.demos.plan
    print("imported")
"""
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert found.stdout == "imported\n", found.stderr
