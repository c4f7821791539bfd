"""Laws of simulator workers: forks and a forkserver's play the same, and none outlives its starter."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

# In a process of its own: pytest's has threads, and may not fork.
SCRIPT = """
import sys, threading, time
import psutil, torch
from actor.simulators.make import make_environment
from actor.simulators.workers import start_method
from config.compose import compose_config
from config.process import stop_on_signals

stop_on_signals()
task = compose_config([]).task

def play():
    envs = make_environment(task, "physx_cpu", 3, seed=7, processes=2)
    frames = [envs.reset(), *(envs.step(torch.full((3, envs.action_dim), 0.5)).observation for _ in range(4))]
    return envs, torch.stack(frames)

forked = start_method(("actor.simulators.bundle", "mani_skill.envs"))
envs, frames = play()
print(*(child.pid for child in psutil.Process().children(recursive=True)), flush=True)
if "wait" in sys.argv:
    time.sleep(600)
envs.close()
threading.Thread(target=time.sleep, args=(600,), daemon=True).start()
served = start_method(("actor.simulators.bundle", "mani_skill.envs"))
envs, again = play()
envs.close()
print(forked, served, torch.equal(frames, again))
"""


def start(repository: Path, *words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", SCRIPT, *words],
        cwd=repository, env={**os.environ, "OMP_NUM_THREADS": "1"}, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip


@pytest.mark.slow
def test_forks_of_a_process_without_threads_play_what_other_workers_play(repository: Path) -> None:
    output, _ = start(repository).communicate(timeout=100)
    assert output.splitlines()[-1] == "fork forkserver True"


def test_killed_process_leaves_no_forked_worker(repository: Path) -> None:
    process = start(repository, "wait")
    assert process.stdout is not None
    workers = [int(word) for word in process.stdout.readline().split()]
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert len(workers) == 2
    deadline_s = time.monotonic() + 20
    while left := [pid for pid in workers if psutil.pid_exists(pid)]:
        assert time.monotonic() < deadline_s, left
        time.sleep(0.05)
