"""Installed packages bring tasks, bases and algorithms without a change of this repository."""

import json
import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import msgspec
import pytest
import torch

from actor.policy.make import make_base
from actor.policy.noise import Use, keys_at
from config import packages
from config.algo import AlgoConfig
from config.algorithm import AlgorithmConfig
from config.base import BaseConfig, DiffusionBaseConfig, ZeroBaseConfig
from config.compose import compose_config
from config.process import UsageError
from config.section import ConfigError
from config.tasks import key_of_task, task_file
from config.train_base import compose_training
from config.tuning import SftConfig
from learner.algorithms.residual_sac import ResidualSAC
from learner.make import make_training
from learner.ranks.ranks import Ranks
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


ODD_BASE = """
from config.base import BaseConfig
class Base(BaseConfig, frozen=True, tag_field="odd", tag="odd_base"):
    def make(self): ...
"""


def bases() -> tuple[type, ...]:
    """The settings of bases, ours and those of packages."""
    ours = ZeroBaseConfig | DiffusionBaseConfig
    return get_args(packages.with_installed(ours, packages.BASES, BaseConfig, "make"))


def test_bases_and_algorithms_of_a_package_are_words(tmp_path: Path) -> None:
    """In a process of its own: kinds are read once, when the configuration is imported."""
    program = (
        "from config.compose import compose_config as compose\n"
        "words = ['task=raise_cube', 'base=approach', 'base.gain=3', 'algo=doubting', 'algo.doubt=0.5']\n"
        "config = compose(words)\n"
        "print(type(config.base).__name__, config.base.gain, config.algo.doubt, config.algo.utd)\n"
        "compose(['algo=doubting', 'algo.doubt=2'])"
    )
    environment = os.environ | {"PYTHONPATH": f"{install(tmp_path, EXAMPLE)}:{ROOT}"}
    words = [sys.executable, "-c", program]
    done = subprocess.run(words, env=environment, capture_output=True, text=True, check=False)
    utd = compose_config([]).algo
    assert isinstance(utd, AlgoConfig)
    assert done.stdout.split() == ["ApproachConfig", "3.0", "0.5", str(utd.utd)], done.stderr
    assert "doubt must be in [0, 1], got 2.0" in done.stderr.splitlines()[-1]


def test_a_package_whose_base_fails_is_named_and_the_others_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    package(tmp_path, "broken_base", {packages.BASES: "broken_base:Base"}, {"broken_base.py": "1 / 0"})
    package(tmp_path, "ends_base", {packages.BASES: "ends_base:Base"}, {"ends_base.py": "raise SystemExit"})
    package(tmp_path, "no_base", {packages.BASES: "no_base:Base"}, {"no_base.py": "class Base: pass"})
    package(tmp_path, "odd_base", {packages.BASES: "odd_base:Base"}, {"odd_base.py": ODD_BASE})
    monkeypatch.syspath_prepend(install(tmp_path, EXAMPLE))
    assert [kind.__name__ for kind in bases()] == ["ZeroBaseConfig", "DiffusionBaseConfig", "ApproachConfig"]
    said = sorted(record.getMessage() for record in caplog.records)
    whys = [
        "broken_base:Base: ZeroDivisionError: division by zero",
        "ends_base:Base: SystemExit:",
        "no_base:Base: TypeError: no class below BaseConfig with tag='no_base' and a method make",
        "odd_base:Base: TypeError: If a type union contains multiple Struct types",
    ]
    for line, why in zip(said, whys, strict=True):
        assert line.startswith(f"package {why.partition(':')[0]} is left out: its residual_rl.bases {why}")


@pytest.mark.parametrize(("name", "other"), [("approach", EXAMPLE), ("zero", "residual-rl")])
def test_two_packages_with_one_kind_of_base_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, other: str
) -> None:
    package(tmp_path, "zz_second", {}, {})
    entries = tmp_path / "zz_second-1.0.dist-info/entry_points.txt"
    entries.write_text(f"[{packages.BASES}]\n{name} = zz:Base\n")
    monkeypatch.syspath_prepend(install(tmp_path, EXAMPLE))
    with pytest.raises(ConfigError, match=f"{name} of residual_rl.bases is in two packages") as refused:
        bases()
    assert other in str(refused.value) and "zz_second" in str(refused.value)


def test_the_examples_base_moves_to_the_thing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(install(tmp_path, EXAMPLE))
    settings = bases()[-1](path="none", act_horizon=3, gain=10.0, hand=0, thing=3)
    base = make_base(settings, compose_config(["task.sizes=[6,7]"]).task, "cpu")
    history = torch.tensor([[[0.0, 0.0, 0.0, 0.05, -0.02, 9.0]], [[1.0, 0.0, 0.0, 1.0, 0.0, 0.0]]])
    plan = base.plan(history, keys_at([0, 1], 0, Use.BASE))
    assert torch.allclose(plan[0], torch.tensor([0.5, -0.2, 1, 0, 0, 0, 1]).expand(3, 7))
    assert torch.equal(plan[1:], base.plan(history[1:], keys_at([1], 0, Use.BASE)))


def test_the_examples_algorithm_makes_its_updates(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(install(tmp_path, EXAMPLE))
    ours, group = AlgoConfig | SftConfig, packages.ALGORITHMS
    kinds = packages.with_installed(ours, group, AlgorithmConfig, "make_training")
    config = compose_config(
        ["base=zero", "algo.prior_fraction=0", "algo.scale_observations=off", "learner.replay_capacity=10"]
    )
    plain = msgspec.to_builtins(config.algo) | {"kind": "doubting", "doubt": 0.25}
    config = msgspec.structs.replace(config, algo=msgspec.convert(plain, get_args(kinds)[-1]))
    base = make_base(config.base, config.task, "cpu")
    made = make_training(config, base, Ranks()).algorithm
    assert type(made).__name__ == "DoubtingSAC" and isinstance(made, ResidualSAC)
    target = torch.tensor([3.0, 1.0])
    monkeypatch.setattr(ResidualSAC, "bootstrap_target", lambda *_: target)
    assert made.bootstrap_target({"reward": torch.tensor([1.0, 1.0])}).tolist() == [2.5, 1.0]
    with pytest.raises(UsageError, match="algo=residual_td3 works in one process"):
        several = Ranks()
        several.size = 2
        make_training(config, base, several)


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_the_example_trains(tmp_path: Path, free_ports: tuple[int, int]) -> None:
    words = [
        "task=raise_cube", "base=approach", "algo=doubting", "learner.demos=null", "algo.prior_fraction=0",
        "tracking=[]",
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
    assert (summary["task"], summary["algo"]) == ("RaiseCube-v1", "doubting")
    assert summary["frames"] >= 3000 and summary["updates"] > 0
