"""A learner of several processes: whoever is killed, it ends by name, nobody is left, and it goes on."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch

from tests.support.helpers import left_running
from tests.support.namespaces import enter, refusal
from tests.support.runs import points, wait_for

SMALL = (
    "learner.total_frames=1000000", "algo.learning_starts=60", "algo.critic_warmup_updates=10", "algo.utd=2",
    "learner.max_updates_behind=100000", "algo.batch_size=32", "algo.hidden=[16]",
    "learner.wandb.mode=disabled", "learner.processes=2", "learner.log_every_s=0.3",
    "learner.checkpoint_every_s=1", "actor.count=1", "actor.num_envs=2", "actor.rows_per_batch=8", "name=run",
)  # fmt: skip
ACCELERATE = (sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2", "-m")


class Place:
    """Where learners and actors of one test run."""

    def __init__(self, folder: Path, ports: tuple[int, int], repository: Path) -> None:
        self.folder, self._repository = folder, repository
        self._words = (*SMALL, f"wire.experience_port={ports[0]}", f"wire.weights_port={ports[1]}")
        self.processes: list[subprocess.Popen[str]] = []

    def start(
        self, module: str, *words: str, runs: str = "runs", launcher: tuple[str, ...] = (sys.executable, "-m")
    ) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [*launcher, module, *self._words, f"runs_dir={self.folder / runs}", *words],
            cwd=self._repository, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            start_new_session=True, env=os.environ | {"ACCELERATE_USE_CPU": "true"},
        )  # fmt: skip
        self.processes.append(process)
        return process

    def run(self, runs: str = "runs") -> Path:
        return self.folder / runs / "run"

    def wait_until_training(self, *processes: subprocess.Popen[str]) -> None:
        checkpoint = self.run() / "checkpoints" / "training.pt"
        wait_for(lambda: checkpoint.exists() and points(self.run())[-1].get("loss/critic"), *processes)


@pytest.fixture
def place(tmp_path: Path, free_ports: tuple[int, int], repository: Path) -> Iterator[Place]:
    place = Place(tmp_path, free_ports, repository)
    yield place
    for process in place.processes:
        process.kill()
    for process in place.processes:
        process.wait()
        assert not left_running(process.pid)


def follower(learner: subprocess.Popen[str]) -> int:
    """The process of rank 1."""
    return next(child for child in children(learner) if b"learner.follow" in command_line(child))


def children(process: subprocess.Popen[str]) -> list[int]:
    return [
        int(word) for word in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    ]


def command_line(process: int) -> bytes:
    return Path(f"/proc/{process}/cmdline").read_bytes()


def finish(learner: subprocess.Popen[str]) -> tuple[int, str]:
    """Exit code and output; nobody of it is left."""
    output = learner.communicate(timeout=30)[0]
    assert not left_running(learner.pid)
    return learner.returncode, output


def flat(content: Any) -> list[Any]:
    if isinstance(content, dict):
        return [item for value in content.values() for item in flat(value)]
    return [item for value in content for item in flat(value)] if isinstance(content, list) else [content]


def resume(place: Place, runs: str) -> list[Any]:
    """Networks, optimisers and random numbers once a learner without actors has made every update due."""
    before = len(points(place.run(runs)))
    learner = place.start("learner", runs=runs)
    wait_for(lambda: [p for p in points(place.run(runs))[before:] if not p["updates_due"]], learner)
    learner.send_signal(signal.SIGINT)
    code, output = finish(learner)
    assert code == 0 and "resumed the networks from update" in output, output
    saved = torch.load(place.run(runs) / "checkpoints" / "training.pt", weights_only=True)
    return flat([saved["algorithm"], saved["batches"]])


def equal(one: Any, other: Any) -> bool:
    return torch.equal(one, other) if isinstance(one, torch.Tensor) else one == other


@pytest.mark.timeout(300)
def test_a_killed_rank_ends_the_learner_and_two_resumes_agree_to_the_bit(place: Place) -> None:
    learner, actor = place.start("learner"), place.start("actor")
    place.wait_until_training(learner, actor)
    killed, began_s = follower(learner), time.monotonic()
    os.kill(killed, signal.SIGKILL)
    code, output = finish(learner)
    assert time.monotonic() - began_s < 30
    assert code == 1
    errors = [line for line in output.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1 and f"rank 1 (process {killed} on " in errors[0], output
    assert "was killed by SIGKILL" in errors[0] and "Traceback" not in output
    assert actor.poll() is None  # it waits
    actor.kill()
    shutil.copytree(place.run(), place.run("again"))
    one, other = resume(place, "runs"), resume(place, "again")
    assert all(map(equal, one, other))


@pytest.mark.timeout(300)
def test_the_other_ranks_end_with_rank_0(place: Place) -> None:
    learner, actor = place.start("learner"), place.start("actor")
    place.wait_until_training(learner, actor)
    learner.kill()
    code, output = finish(learner)
    assert code == -signal.SIGKILL
    assert f"error: rank 0 (process {learner.pid} on " in output


@pytest.mark.slow  # Accelerate starts torch's own launcher, which takes its time to end
@pytest.mark.timeout(300)
def test_ranks_that_accelerate_launches_end_by_name_too(place: Place) -> None:
    learner = place.start("learner", "learner.processes=1", launcher=ACCELERATE)
    actor = place.start("actor")
    place.wait_until_training(learner, actor)
    os.kill(children(learner)[-1], signal.SIGKILL)
    code, output = finish(learner)
    assert code == 1
    assert "error: rank " in output and " has ended: all its processes end" in output


@pytest.mark.slow  # Accelerate starts torch's own launcher on both hosts, twice
@pytest.mark.timeout(900)
def test_one_learner_of_two_hosts_ends_by_name_when_one_is_cut_off_and_goes_on(tmp_path: Path) -> None:
    """The hosts are network namespaces, each with an address of its own."""
    if (reason := refusal()) is not None:
        pytest.skip(reason)
    child = enter("tests.system.ranks_child", [str(tmp_path)])
    output = child.communicate(timeout=850)[0]
    assert child.returncode == 0, output[-3000:]
    everybody = (process.info["cmdline"] or [] for process in psutil.process_iter(["cmdline"]))
    assert not [words for words in everybody if any(str(tmp_path) in word for word in words)]
    result = json.loads(output.splitlines()[-1])
    assert result["codes"] == [1, 1]
    for other, said in zip((1, 0), result["said"], strict=True):
        [error] = [line for line in said.splitlines() if line.startswith("error: ")]
        assert f"rank {other} (process " in error and "gave no sign of life for 15 s" in error
    assert "resumed the networks from update" in result["said_again"][0]
    assert not result["second_has_files"], "rank 0 alone has the run's folder"
