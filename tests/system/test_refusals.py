"""What cannot work is refused in one clear line that says what to do.

Most of it is asked of a role's function here; whole processes show that the line is all that is left of them.
tests/launch/test_entries.py has the exit codes."""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from actor.evaluate import run_evaluator
from actor.loop import run_actor
from actor.policy.contract import CheckpointError
from actor.policy.make import make_base
from actor.policy.spec import experience_spec
from actor.simulators.contract import TaskError
from config.compose import compose_config
from config.process import USAGE_ERROR, StopRequest, one_line
from config.section import ConfigError
from learner.folder import RunError, make_run_dir, sole_learner
from learner.intake.intake import Intake, IntakeError
from learner.replay.dataset.format.spec import DatasetError
from learner.replay.prior.error import DemonstrationError
from learner.run import run_learner
from tests.support.helpers import left_running, make_config

REFUSALS = (CheckpointError, ConfigError, DatasetError, DemonstrationError, IntakeError, TaskError, RunError)
SMALL = ("learner.wandb.mode=disabled", "actor.count=1", "actor.num_envs=1", "wire.connect_timeout_s=20")


def run(module: str, *overrides: str, timeout_s: float = 60) -> tuple[int, str, str]:
    """Exit code, standard output and standard error of processes that are expected to refuse."""
    words = [sys.executable, "-m", *module.split(), *SMALL, *overrides]
    process = subprocess.Popen(
        words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        start_new_session=True,
    )  # fmt: skip
    output, error = process.communicate(timeout=timeout_s)
    assert not left_running(process.pid)
    return process.returncode, output, error


ROLES = {"learner": run_learner, "actor": run_actor, "actor.evaluate": run_evaluator}


@pytest.fixture
def refused(monkeypatch: pytest.MonkeyPatch, ports: list[str]) -> Callable[..., str]:
    """The line with which a role refuses its configuration, in this process."""
    monkeypatch.setattr(os, "nice", lambda increment: 0)
    monkeypatch.setattr(torch, "set_num_threads", lambda count: None)

    def refuse(role: str, *overrides: str) -> str:
        config = compose_config([*SMALL, *ports, *overrides])
        with pytest.raises(REFUSALS) as refused:
            ROLES[role](config, StopRequest())
        return one_line(refused.value)

    return refuse


def assert_one_line(code: int, _: str, error: str, *says: str) -> None:
    lines = [line for line in error.splitlines() if line.startswith("error: ")]
    assert code != 0
    assert "Traceback" not in error
    assert len(lines) == 1, error
    for word in says:
        assert word in lines[0], lines[0]


@pytest.fixture
def ports(free_ports: tuple[int, int], tmp_path: Path) -> list[str]:
    return [
        f"wire.experience_port={free_ports[0]}",
        f"wire.weights_port={free_ports[1]}",
        f"runs_dir={tmp_path}",
    ]


@pytest.fixture
def base_copy(tmp_path: Path, repository: Path) -> Path:
    """The shipped base, to be spoilt."""
    return Path(shutil.copytree(repository / "bases" / "PickCube-v1", tmp_path / "base"))


def spoil(base: Path, kind: str) -> str:
    """Make `base` wrong; returns what the refusal has to say."""
    weights, arguments = base / "checkpoints" / "best.pt", base / "args.json"
    if kind == "not a checkpoint":
        weights.write_bytes(b"nothing of the kind")
        return "not a readable checkpoint"
    if kind == "missing keys":
        content = torch.load(weights, weights_only=True)
        content["ema_agent"].pop("noise_pred_net.final_conv.1.bias")
        torch.save(content, weights)
        return "final_conv.1.bias"
    settings = json.loads(arguments.read_text())
    arguments.write_text(json.dumps(settings | {"control_mode": "pd_joint_delta_pos"}))
    return "pd_joint_delta_pos"


@pytest.mark.parametrize("kind", ["not a checkpoint", "missing keys", "other control mode"])
@pytest.mark.parametrize("role", ROLES)
def test_a_wrong_checkpoint_is_refused_by_everybody(
    role: str, kind: str, base_copy: Path, refused: Callable[..., str]
) -> None:
    says = spoil(base_copy, kind)
    assert says in refused(role, f"base.path={base_copy}")


def test_a_process_that_refuses_leaves_one_line(base_copy: Path, ports: list[str]) -> None:
    says = spoil(base_copy, "not a checkpoint")
    assert_one_line(*run("actor.evaluate", f"base.path={base_copy}", *ports), says)


@pytest.mark.parametrize("role", ROLES)
def test_a_base_of_other_dimensions_is_refused_before_anything_starts(
    role: str, refused: Callable[..., str]
) -> None:
    # PushCube has observation dimension 35, the shipped base takes 42.
    line = refused(role, "task.env_id=PushCube-v1", "base.path=bases/PickCube-v1")
    assert "42" in line and "the task has 35" in line


# Neither is in config/spaces.yaml: a hand with nine joints.
VALVE = ("task.env_id=RotateValveLevel0-v1", "task.control_mode=pd_joint_delta_pos")


def test_so_it_is_for_a_task_that_no_table_knows(base_copy: Path, refused: Callable[..., str]) -> None:
    spoil(base_copy, "other control mode")  # to that of the task
    line = refused("actor", *VALVE, f"base.path={base_copy}")
    assert "42" in line and "the task has 51 and 9" in line


def test_a_run_asks_for_the_sizes_of_such_a_task_once(base_copy: Path, ports: list[str]) -> None:
    spoil(base_copy, "other control mode")
    words = ["launch run", *VALVE, f"base.path={base_copy}", *ports, "name=wrong", "algo.prior_fraction=0"]
    code, output, error = run(*words, timeout_s=110)
    assert code == USAGE_ERROR
    assert (output + error).count("RotateValveLevel0-v1 has observation_dim 51 and action_dim 9") == 1
    assert "the task has 51 and 9" in error and "learner" not in output
    assert "Traceback" not in output + error


def test_an_unknown_task_is_refused_before_anything_connects(refused: Callable[..., str]) -> None:
    line = refused("actor", "task.env_id=Nonsense-v1", "base.path=bases/PickCube-v1")
    assert "task.env_id=Nonsense-v1" in line


def test_missing_demonstrations_are_named_with_the_command_that_makes_them(
    refused: Callable[..., str], tmp_path: Path
) -> None:
    line = refused("learner", f"learner.demos={tmp_path / 'none.h5'}")
    assert all(word in line for word in ("none.h5", "launch/demos.sh", "prior_fraction=0"))


def test_a_port_in_use_is_named_by_the_learner(
    refused: Callable[..., str], free_ports: tuple[int, int]
) -> None:
    with socket.create_server(("127.0.0.1", free_ports[0])):
        assert f"experience_port={free_ports[0]}" in refused("learner")


@pytest.mark.parametrize(
    ("held", "resume", "says"),
    [
        (["config.yaml"], "new", "a run already"),
        (["config.yaml", "summary.json"], "auto", "a run that is over"),
        ([], "must", "no run to resume"),
    ],
)
def test_a_run_folder_that_resume_does_not_allow_is_refused(
    held: list[str], resume: str, says: str, tmp_path: Path
) -> None:
    config = make_config("name=twice", f"resume={resume}", f"runs_dir={tmp_path}")
    config.run_dir.mkdir()
    for name in held:
        (config.run_dir / name).write_text("")
    with pytest.raises(RunError, match=f"twice holds {says}.*name=<run>"):
        make_run_dir(config)


def test_a_foreign_replay_in_the_run_s_folder_is_refused(refused: Callable[..., str], tmp_path: Path) -> None:
    meta = tmp_path / "mine" / "replay" / "meta"
    meta.mkdir(parents=True)
    (meta / "info.json").write_text('{"codebase_version": "v2.1"}')
    assert "mine/replay has LeRobot's format v2.1, not v3.0: " in refused("learner", "name=mine")
    assert [path.name for path in meta.iterdir()] == ["info.json"]


def test_an_actor_of_another_spec_is_refused_and_the_learner_goes_on(ports: list[str]) -> None:
    config = compose_config(ports)
    base = make_base(config.base, config.task, "cpu")
    intake = Intake(config.wire, experience_spec(config, base), queue_rows=100)
    intake.start()
    try:
        refused = run("actor", "algo.residual_every=2", *ports)
        assert_one_line(*refused, "residual_every 2", "residual_every 1")
        deadline = time.monotonic() + 5
        while not intake.counters().get("refused"):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        intake.raise_if_failed()
    finally:
        intake.close()


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        (["base.path=nowhere"], "no folder nowhere"),
        (["task.env_id=PushCube-v1"], "bases/PushCube-v1 with a base for task.env_id=PushCube-v1"),
        (["algo.residual_dims=[9]"], "algo.residual_dims=[9] must lie in 0 .. 6"),
        (
            ["algo.relations=[{point: 50, tip: null, origin: 0, turned: false}]"],
            "algo.relations: 50 from 0 reads index 52",
        ),
    ],
)
def test_a_run_that_cannot_work_is_refused_by_its_learner(
    overrides: list[str], says: str, refused: Callable[..., str]
) -> None:
    assert says in refused("learner", *overrides)


@pytest.mark.parametrize(
    ("override", "says"),
    [
        ("algo.residual_dims=[9]", "algo.residual_dims=[9] must lie in 0 .. 6"),
        ("algo.residual_scale=[0.1,2]", "algo.residual_scale has 2 numbers, actions have 7 dimensions"),
    ],
)
def test_a_residual_for_other_actions_is_refused_before_anything_starts(
    override: str, says: str, ports: list[str], tmp_path: Path
) -> None:
    words = (override, *ports, "name=wrong", f"runs_dir={tmp_path}")
    code, output, error = run("launch run", *words, timeout_s=100)
    assert_one_line(code, output, error, says)
    assert not list(tmp_path.iterdir())


def test_a_run_of_an_unknown_task_is_refused_before_anything_starts(ports: list[str]) -> None:
    code, output, error = run("launch run", "task.env_id=Nonsense-v1", *ports, "name=wrong", timeout_s=100)
    assert_one_line(code, output, error, "is not registered with ManiSkill")


def test_a_learner_that_gives_up_takes_starting_simulators_along(ports: list[str]) -> None:
    code, output, error = run("launch run", "learner.stall_timeout_s=1", *ports, "name=dead", timeout_s=100)
    assert code == 1
    assert "learner   | error: no experience for 1 s" in output
    assert "Traceback" not in output + error


def test_a_second_learner_of_the_same_run_is_refused_and_touches_nothing(tmp_path: Path) -> None:
    refused = pytest.raises(RunError, match="is in use by another learner")
    with sole_learner(tmp_path), refused, sole_learner(tmp_path):
        pass
    with sole_learner(tmp_path):
        assert [path.name for path in tmp_path.iterdir()] == ["lock"]
