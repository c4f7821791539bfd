"""Installed packages bring files of configuration, and tasks, without a change of this repository."""

import json
import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from config import packages
from config.compose import compose_config
from config.section import ConfigError
from config.tasks import key_of_task, task_file
from config.train_base import compose_training
from tests.support.plugins import ROOT, install

EXAMPLE = "residual_rl_example"


@pytest.fixture(autouse=True)
def forgotten() -> Iterator[None]:
    packages.config_folders.cache_clear()
    yield
    packages.config_folders.cache_clear()
    packages.register_tasks.cache_clear()


def package(folder: Path, name: str, groups: dict[str, str], files: dict[str, str]) -> None:
    """An installed package with these entry points and files."""
    for path, text in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text)
    about = folder / f"{name}-1.0.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    lines = "".join(f"[{group}]\n{name} = {value}\n" for group, value in groups.items())
    (about / "entry_points.txt").write_text(lines)


def test_a_task_of_a_package_is_a_word(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(install(tmp_path, EXAMPLE))
    config = compose_config(["task=raise_cube", "task.max_episode_steps=50"])
    assert (config.task.env_id, config.task.sizes, config.task.max_episode_steps) == (
        "RaiseCube-v1",
        (42, 7),
        50,
    )
    assert [relation.text for relation in config.algo.relations] == ["29 from 19"]
    assert compose_config(["task=stack_cube"]).task.env_id == "StackCube-v1"


def test_a_task_of_a_package_is_found_by_name_and_by_id(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert task_file("RaiseCube-v1") is None
    packages.config_folders.cache_clear()
    monkeypatch.syspath_prepend(install(tmp_path, EXAMPLE))
    assert task_file("RaiseCube-v1") == "raise_cube"
    assert compose_training(["task=raise_cube"]).task == "RaiseCube-v1"
    assert key_of_task("RaiseCube-v1", "robot_state_dim", "none") == "18"


def test_a_package_that_fails_is_named_and_the_others_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    groups = {packages.CONFIG: "broken_one.config", packages.TASKS: "broken_one.tasks"}
    package(tmp_path, "broken_one", groups, {"broken_one/__init__.py": "raise RuntimeError('out of order')"})
    package(
        tmp_path,
        "whole_one",
        {packages.TASKS: "whole_one"},
        {"whole_one.py": "import os\nos.environ['WHOLE'] = '1'"},
    )
    monkeypatch.setenv("WHOLE", "0")
    monkeypatch.syspath_prepend(install(tmp_path, EXAMPLE))
    with caplog.at_level(logging.WARNING):
        assert compose_config(["task=raise_cube"]).task.env_id == "RaiseCube-v1"
        packages.register_tasks()
    said = [record.getMessage() for record in caplog.records if record.name == "config.packages"]
    assert [line.partition(" is left out")[0] for line in said] == ["package broken_one"] * 2
    assert all("RuntimeError: out of order" in line for line in said) and os.environ["WHOLE"] == "1"


@pytest.mark.parametrize("name, other", [("raise_cube", EXAMPLE), ("pick_cube", "residual-rl")])
def test_two_packages_with_one_name_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, other: str
) -> None:
    second = f"zz_{name}"
    inside = {"__init__.py": "", "config/__init__.py": "", f"config/task/{name}.yaml": ""}
    files = {f"{second}/{path}": text for path, text in inside.items()}
    package(tmp_path, second, {packages.CONFIG: f"{second}.config"}, files)
    monkeypatch.syspath_prepend(install(tmp_path, EXAMPLE))
    with pytest.raises(ConfigError, match=f"task={name} is in two packages") as refused:
        compose_config([])
    assert other in str(refused.value) and second in str(refused.value)


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_the_examples_task_trains(tmp_path: Path, free_ports: tuple[int, int]) -> None:
    words = [
        "task=raise_cube", "base=zero", "learner.demos=null", "algo.prior_fraction=0", "tracking=[]",
        "algo.scale_observations=off", "algo.residual_scale=1", "task.residual_dims=null", "name=one",
        "learner.total_frames=3000", "algo.learning_starts=100", "algo.critic_warmup_updates=0",
        "algo.hidden=[32]", "algo.batch_size=32", "learner.evaluation.episodes=2",
        "learner.evaluation.interim_episodes=2", "learner.evaluation.num_envs=2", f"runs_dir={tmp_path}/runs",
        "learner.evaluation.videos=0", f"wire.experience_port={free_ports[0]}",
        f"wire.weights_port={free_ports[1]}",
    ]  # fmt: skip
    environment = os.environ | {"PYTHONPATH": str(install(tmp_path / "site", EXAMPLE))}
    done = subprocess.run(
        [sys.executable, "-m", "launch", "run", *words],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    summary = json.loads((tmp_path / "runs" / "one" / "summary.json").read_text())
    assert summary["task"] == "RaiseCube-v1" and summary["frames"] >= 3000 and summary["updates"] > 0
