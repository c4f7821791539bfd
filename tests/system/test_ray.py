"""A run on a real Ray cluster. Two nodes on this machine; a node, the launcher and the learner are killed."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.support.demonstrations import put, write_h5
from tests.support.program import residual_rl
from tests.support.ray_cluster import ENVIRONMENT, require_ray
from tests.support.runs import points, wait_for

SMALL = (
    "base=zero", "learner.demos=null", "algo.prior_fraction=0", "tracking=[]", "learner.evaluation.videos=0",
    "learner.evaluation.episodes=4", "learner.evaluation.num_envs=2", "algo.learning_starts=100",
    "algo.critic_warmup_updates=20", "actor.num_envs=2", "actor.rows_per_batch=8", "learner.log_every_s=1",
    "cluster.actors=1",
)  # fmt: skip


@pytest.fixture(autouse=True)
def with_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    require_ray()
    for key, value in ENVIRONMENT.items():
        monkeypatch.setenv(key, value)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_every_row_is_there_once_when_a_node_and_then_the_learner_are_killed(
    tmp_path: Path, repository: Path
) -> None:
    child = subprocess.run(
        [sys.executable, "-m", "tests.system.ray_faults", str(tmp_path)],
        cwd=repository, capture_output=True, text=True, timeout=800,
    )  # fmt: skip
    assert child.returncode == 0, child.stderr[-3000:]
    result = json.loads(child.stdout.splitlines()[-1])
    assert result["broken"] == []
    assert result["rows_in_replay"] == result["rows_sent"] > 200
    assert result["codes"] == {"actor-0": 0, "actor-1": 0, "learner": 0}
    assert result["seen_by"] == 3
    assert "learner is lost" in child.stdout + child.stderr


def test_prior_data_that_the_learner_would_refuse_is_refused_before_a_cluster_starts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    demos = write_h5(tmp_path / "demos.h5", put("obs", lambda o: o[:, :-1]))
    words = ("name=one", f"runs_dir={tmp_path}/runs", f"learner.demos={demos}", "learner.device=cuda")
    assert residual_rl("run", "cluster=ray", "cluster.learner_gpus=1", *words) == 2
    said = capsys.readouterr()
    assert "observation_dim 41 and action_dim 7" in said.err and "starting a Ray cluster" not in said.out
    assert not (tmp_path / "runs").exists()


@pytest.fixture
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where nodes keep the keys of a run."""
    folder = tmp_path / "scratch"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setenv("RAY_TMPDIR", "/tmp")  # the names of Ray's sockets must be short
    return folder


@pytest.fixture
def run(
    scratch: Path, tmp_path: Path, free_ports: tuple[int, int], repository: Path
) -> Iterator[subprocess.Popen[str]]:
    """A run on a Ray cluster of its own; nothing of it may be left."""
    words = [*SMALL, "name=one", f"runs_dir={tmp_path}", "learner.total_frames=1000000"]
    words += [f"wire.experience_port={free_ports[0]}", f"wire.weights_port={free_ports[1]}"]
    process = subprocess.Popen(
        [sys.executable, "-m", "launch", "run", "cluster=ray", *words],
        cwd=repository, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        start_new_session=True,
    )  # fmt: skip
    yield process
    for child in family(process.pid):
        child.kill()
    process.communicate()


def family(process: int) -> list[psutil.Process]:
    try:
        return [*psutil.Process(process).children(recursive=True), psutil.Process(process)]
    except psutil.NoSuchProcess:
        return []


def frames(tmp_path: Path) -> float:
    return max((point.get("frames", 0) for point in points(tmp_path / "one")), default=0)


@pytest.mark.timeout(300)
def test_a_killed_learner_comes_back_and_ctrl_c_ends_all(
    run: subprocess.Popen[str], scratch: Path, tmp_path: Path
) -> None:
    wait_for(lambda: frames(tmp_path) > 50, run)
    [learner] = [p for p in family(run.pid) if p.cmdline()[1:3] == ["-m", "learner"]]
    learner.kill()
    before = frames(tmp_path)
    wait_for(lambda: frames(tmp_path) > before + 50, run)
    below = family(run.pid)
    os.killpg(run.pid, signal.SIGINT)  # as a terminal does
    said, _ = run.communicate(timeout=60)
    assert run.returncode == 128 + signal.SIGINT, said
    assert "learner is lost: a signal killed it (9); starting it again" in said
    assert "connected to the learner" in (tmp_path / "one" / "logs" / "actor-0.log").read_text()
    psutil.wait_procs(below, timeout=20)
    assert not [process for process in below if process.is_running()]
    assert not (tmp_path / "one" / "node_token").exists()
    assert not list(scratch.glob("residual-rl-*"))
