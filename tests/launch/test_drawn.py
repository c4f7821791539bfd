"""Pictures of ManiSkill's demonstrations: of the recorded states, in their order."""

import json
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import h5py
import msgspec
import numpy as np
import pytest
import torch
from lerobot.datasets.lerobot_dataset import LeRobotDataset

from actor.simulators.contract import RenderError, TaskError
from actor.simulators.make import make_environment
from actor.simulators.recorded import RecordedStates
from config.demos import DemosConfig, compose_demos
from config.process import UsageError
from config.section import ConfigError
from launch.demos.dataset import task_of
from launch.demos.drawn import with_pictures, write_dataset
from launch.demos.parts import PLANNED, converted_name
from launch.demos.start import make_demos
from learner.replay.prior.error import DemonstrationError
from learner.replay.prior.read import read_demonstrations
from tests.support.helpers import make_config

REAL = Path("tests/data/PickCube-v1/planned.h5")
MODE = "pd_ee_delta_pose"
_CONVERT = f"""
import sys
from pathlib import Path
from actor.simulators.headless import prepare_simulator
from launch.demos.plan import convert
prepare_simulator()
convert(Path(sys.argv[1]), {MODE!r}, "all", noise=0.1, seed=1)
"""


def settings(*words: str) -> DemosConfig:
    return compose_demos(["task=PickCube-v1", *words])


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The three real plans (seeds 8, 2 and 58), pushed about in ManiSkill's own conversion; the h5."""
    planned = tmp_path_factory.mktemp("demos") / "PickCube-v1" / f"{PLANNED}.h5"
    planned.parent.mkdir()
    planned.write_bytes(REAL.read_bytes())
    described = json.loads(REAL.with_suffix(".json").read_text())
    described["env_info"]["env_kwargs"]["render_backend"] = "none"
    planned.with_suffix(".json").write_text(json.dumps(described))
    # In a process of its own: Vulkan looks for drivers once, and this conversion is not to be the one.
    subprocess.run([sys.executable, "-c", _CONVERT, str(planned)], check=True, capture_output=True)
    return planned.with_name(f"{converted_name(MODE)}.h5")


@pytest.fixture
def copied(real: Path, tmp_path: Path) -> Path:
    """The same, to be changed."""
    for path in (real, real.with_suffix(".json")):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    return tmp_path / real.name


class Counting:
    """Draws pictures that say which frame they are of; stands for a simulator that needs Vulkan."""

    def __init__(self) -> None:
        self.seeds: list[int] = []
        self.cubes: list[np.ndarray] = []

    def first(self, seed: int, recorded: np.ndarray, where: str) -> dict[str, np.ndarray]:
        self.seeds.append(seed)
        self._drawn = np.zeros((2, 3, 3), np.uint8)
        return {"above": self._drawn}

    def show(self, state: Any, recorded: np.ndarray, where: str) -> dict[str, np.ndarray]:
        self._drawn += 1  # as a simulator that draws into one buffer
        self.cubes.append(state["actors"]["cube"])
        return {"above": self._drawn}


def test_each_frame_has_the_picture_of_its_own_state(real: Path) -> None:
    shown, episodes = Counting(), read_demonstrations(real).episodes
    drawn: Any = [*with_pictures(episodes, real, shown)]  # pyright: ignore[reportArgumentType]
    assert shown.seeds == [8, 2, 58]
    for episode in drawn:
        assert episode.pictures["above"].shape == (len(episode.actions), 2, 3, 3)
        assert episode.pictures["above"][:, 1, 1, 1].tolist() == [*range(len(episode.actions))]
    with h5py.File(real) as file:
        recorded = [file[f"traj_{n}/env_states/actors/cube"][1:-1] for n in range(3)]
    np.testing.assert_array_equal(np.stack(shown.cubes), np.concatenate(recorded))


def test_a_recorded_state_put_back_is_what_was_observed(real: Path) -> None:
    """Real ManiSkill, every frame of the real files; without cameras, which need Vulkan."""
    episodes = read_demonstrations(real).episodes
    with closing(RecordedStates(task_of(settings()))) as shown:
        assert len([*with_pictures(episodes, real, shown)]) == 3
        with h5py.File(real) as file:
            state = {
                kind: {name: part[9] for name, part in file[f"traj_0/env_states/{kind}"].items()}
                for kind in ("actors", "articulations")
            }
        shown.first(8, episodes[0].observations[0], "x.h5, traj_0")
        observed = episodes[0].observations[9]
        assert shown.show(state, observed, "x.h5, traj_0, frame 9") == {}
        with pytest.raises(TaskError, match=r"traj_0, frame 9: not what PickCube-v1 observes here: number "):
            shown.show(state, episodes[0].observations[12], "x.h5, traj_0, frame 9")
        with pytest.raises(TaskError, match=r"traj_0, seed 9: not what PickCube-v1 observes here"):
            shown.first(9, episodes[0].observations[0], "x.h5, traj_0")
        with pytest.raises(TaskError, match="seed 8: 41 numbers in an observation, PickCube-v1 here has 42"):
            shown.first(8, episodes[0].observations[0, 1:], "x.h5, traj_0")
        cube = state["actors"]["cube"]
        for bad in (cube[1:], cube * np.nan, cube.astype(str), None):
            state["actors"]["cube"] = bad
            with pytest.raises(
                TaskError, match="frame 9: (cube in env_states must be 13 finite|env_states lacks cube)"
            ):
                shown.show(state, observed, "x.h5, traj_0, frame 9")
        state["actors"] = {"cube": cube, "sphere": cube} | state["actors"]
        del state["actors"]["cube"]
        with pytest.raises(TaskError, match="lacks (cube|sphere)"):
            shown.show(state, observed, "x.h5, traj_0, frame 9")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda file: file.pop("traj_1/env_states"), "traj_1: .*env_states has none where there are"),
        (lambda file: shorten(file, "traj_1/env_states/actors/cube"), r"traj_1: .*env_states has \[.*'5'"),
    ],
)
def test_an_episode_without_its_states_is_refused(copied: Path, change: Any, says: str) -> None:
    with h5py.File(copied, "r+") as file:
        change(file)
    with pytest.raises(DemonstrationError, match=says):
        [*with_pictures(read_demonstrations(copied).episodes, copied, Counting())]  # pyright: ignore


def shorten(file: Any, name: str) -> None:
    values = file[name][:5]
    del file[name]
    file[name] = values


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda json: None, r"json, which names the seeds .* cannot be used: .*No such file"),
        (lambda json: json["episodes"].pop(), "and the json beside it differ: traj_2 in one of them alone"),
        (lambda json: json["episodes"][0]["reset_kwargs"].update(seed=[]), "cannot be used: .*length >= 1"),
        (lambda json: json["episodes"][0]["reset_kwargs"].update(seed=-1), "cannot be used: .*>= 0"),
    ],
)
def test_an_h5_without_its_seeds_is_refused_before_anything_is_drawn(
    change: Any, says: str, copied: Path
) -> None:
    episodes, place = read_demonstrations(copied).episodes, copied.with_suffix(".json")
    described = json.loads(place.read_text())
    changed = change(described)
    place.write_text(json.dumps(described))
    if changed is None and "No such file" in says:
        place.unlink()
    shown = Counting()
    with pytest.raises(DemonstrationError, match=says):
        [*with_pictures(episodes, copied, shown)]  # pyright: ignore
    assert not shown.seeds


def test_demonstrations_of_another_task_are_refused(copied: Path) -> None:
    with pytest.raises(
        DemonstrationError, match="has demonstrations of task PickCube-v1, this is StackCube-v1"
    ):
        write_dataset(settings("task=StackCube-v1", "lerobot=true"), copied)


def test_the_dataset_is_named_at_the_end(copied: Path) -> None:
    """As demos runs it: some of its imports take the log over."""
    text = msgspec.json.encode(settings("lerobot=true")).decode()
    command = [sys.executable, "-m", "launch.demos.drawn", text, str(copied)]
    said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert said.endswith(f"as a LeRobot dataset: {copied.parent / 'lerobot'}\n")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["cameras=['']"], "cameras must be names of cameras"),
        (["camera_size=[64,64]"], "camera_size must be null without cameras"),
    ],
)
def test_words_that_mean_nothing_are_refused(words: list[str], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        settings(*words)


def test_the_robots_own_part_is_written_without_pictures(copied: Path) -> None:
    folder = write_dataset(settings("lerobot=true", "state=proprioception"), copied)
    dataset = LeRobotDataset("states", root=folder)
    episodes = read_demonstrations(copied).episodes
    robot = [*range(18), *range(19, 26)]  # agent.qpos, agent.qvel, extra.tcp_pose
    assert dataset.num_frames == sum(len(episode.actions) for episode in episodes)
    assert dataset[0]["observation.state"].tolist() == episodes[0].observations[0, robot].tolist()


@pytest.mark.parametrize(
    ("words", "error", "says"),
    [
        (
            ["task=PushCube-v1", "lerobot=true", "state=proprioception"],
            UsageError,
            "names no part of PushCube",
        ),
        (["lerobot=true"], DemonstrationError, "lerobot exists already"),
    ],
)
def test_what_cannot_be_written_is_refused_before_anything_is_planned(
    words: list[str], error: type[Exception], says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.execv", lambda *_: pytest.fail("planned"))
    monkeypatch.setattr("subprocess.run", lambda *_, **__: pytest.fail("made an environment"))
    (tmp_path / "PickCube-v1" / "lerobot").mkdir(parents=True)
    with pytest.raises(error, match=says):
        make_demos(settings(f"out={tmp_path}", *words))


def test_cameras_where_nothing_draws_are_refused_before_anything_is_planned(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def nothing_draws() -> str:
        raise RenderError("this host shows none")

    monkeypatch.setattr("os.execv", lambda *_: pytest.fail("planned"))
    monkeypatch.setattr("actor.simulators.maniskill.choose_renderer", nothing_draws)
    with pytest.raises(RenderError, match="this host shows none"):
        make_demos(settings(f"out={tmp_path}", "cameras=[base_camera]"))


@pytest.mark.slow  # a software device compiles its shaders for half a minute
@pytest.mark.timeout(900)
def test_the_pictures_are_those_that_an_actor_sees(renderer, real: Path, copied: Path) -> None:
    words = ("cameras=[base_camera]", "camera_size=[64,64]")
    # In a process of its own, as demos runs it: Vulkan looks for drivers once.
    text = msgspec.json.encode(settings(*words)).decode()
    subprocess.run([sys.executable, "-m", "launch.demos.drawn", text, str(copied)], check=True)
    dataset = LeRobotDataset("shown", root=copied.parent / "lerobot", video_backend="pyav")
    task = make_config("task.cameras=[base_camera]", "task.camera_size=[64,64]").task
    before, episode, _ = read_demonstrations(copied).episodes
    end = int(episode.success.argmax())
    assert end > 20
    envs = make_environment(task, "physx_cpu", 1, seed=2)
    try:
        observation = envs.reset()
        for frame, taken in enumerate(episode.taken[:end]):
            shown = dataset[len(before.actions) + frame]
            moved = observation[0] - shown["observation.state"]
            assert moved[19:].abs().max() < 0.01, "another episode"  # behind the flag of a grasp
            kept = (shown["observation.images.base_camera"] * 255).round().movedim(0, -1)
            off = (kept - envs.images["base_camera"][0]).abs()
            assert (off > 8).float().mean() < 0.01, frame
            observation = envs.step(torch.from_numpy(taken)[None]).observation
    finally:
        envs.close()
