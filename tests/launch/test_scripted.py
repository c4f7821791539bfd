"""Laws of scripted experts: they solve their task, and their demonstrations are read as any others."""

from pathlib import Path

import numpy as np
import pytest

from actor.simulators.gymnasium import single_environment
from config.compose import compose_config
from config.demos import DemosConfig, compose_demos
from config.process import FailedError, UsageError
from config.train_base import compose_training
from launch.demos.disturbance import Pushes
from launch.demos.experts import EXPERTS
from launch.demos.scripted import demonstrate, play
from launch.demos.start import make_demos
from learner.replay.prior.read import Wanted, read_demonstrations
from tests.support.fetch import needs_fetch


def settings(tmp_path: Path, *words: str) -> DemosConfig:
    return compose_demos([f"out={tmp_path}", "episodes=2", *words])


@needs_fetch
@pytest.mark.parametrize("name", ["fetch_reach", "fetch_push", "fetch_pick_and_place"])
def test_an_expert_solves_its_task(name: str) -> None:
    task = compose_config([f"task={name}"]).task
    env = single_environment(task, 0, 1)
    played = [play(env, EXPERTS[task.env_id]) for _ in range(10)]
    env.close()
    assert sum(episode.success[-1] for episode in played) >= 8
    assert all(np.abs(episode.actions).max() <= 1 for episode in played)


@needs_fetch
def test_demonstrations_are_read_as_those_of_maniskill(tmp_path: Path) -> None:
    make_demos(settings(tmp_path, "task=fetch_push", "first_seed=7"))
    path = tmp_path / "FetchPush-v4" / "expert.h5"
    read = read_demonstrations(path, Wanted(env_id="FetchPush-v4", control_mode="scaled"))
    assert len(read.episodes) == 2 and read.origin.env_id == "FetchPush-v4"
    for episode in read.episodes:
        assert episode.success[-1] and not episode.success[:-1].any()
        assert episode.observations.shape == (len(episode.actions) + 1, 31)


@needs_fetch
def test_what_is_recorded_behind_a_push_is_the_way_back(tmp_path: Path) -> None:
    task = compose_config(["task=fetch_push"]).task
    env = single_environment(task, 3, 1)
    pushes = Pushes(0.5, 1)
    episodes = [play(env, EXPERTS["FetchPush-v4"], pushes) for _ in range(3)]
    env.close()
    assert any((episode.executed != episode.actions).any() for episode in episodes)
    for episode in episodes:
        expected = [EXPERTS["FetchPush-v4"](row) for row in episode.observations[:-1]]
        assert np.array_equal(episode.actions, expected)
        assert np.array_equal(episode.executed[:, -1], episode.actions[:, -1])  # the gripper is not pushed


@needs_fetch
def test_an_expert_that_fails_too_often_is_one_line(tmp_path: Path) -> None:
    words = ("task=fetch_push", "noise=1", "max_attempts_per_episode=1", "episodes=3", "first_seed=2")
    task = compose_config(["task=fetch_push", "task.max_episode_steps=2"]).task
    with pytest.raises(FailedError, match="FetchPush-v4: only . of 3 attempts succeeded: raise max_attempts"):
        demonstrate(settings(tmp_path, *words), task)


@pytest.mark.parametrize(
    "words", [["task=fetch_slide"], ["task=pendulum"], ["task=fetch_push", "source=download"]]
)
def test_a_task_without_an_expert_is_refused_with_those_that_have_one(
    tmp_path: Path, words: list[str]
) -> None:
    with pytest.raises(
        UsageError, match="scripted experts for FetchReach-v4, FetchPush-v4, FetchPickAndPlace"
    ):
        make_demos(settings(tmp_path, *words))


def test_a_task_is_named_by_its_id_or_its_file() -> None:
    for name in ("fetch_push", "FetchPush-v4"):
        demos, training = compose_demos([f"task={name}"]), compose_training([f"task={name}"])
        assert demos.task == training.task == "FetchPush-v4"
        assert demos.control_mode == training.control_mode == "scaled"
        assert training.demos == "demos/FetchPush-v4/expert.h5" and training.out == "bases/FetchPush-v4"
    training = compose_training(["task=stack_cube"])
    assert training.demos == "demos/StackCube-v1/planned.state.pd_ee_delta_pose.physx_cpu.h5"
    assert compose_training(["task=PushCube-v1"]).control_mode == "pd_ee_delta_pose"
