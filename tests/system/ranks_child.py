"""Inside a network namespace: one learner of two hosts, rank 0 here and rank 1 in a second namespace.

    python -m tests.system.ranks_child FOLDER

Prints one JSON object: how each rank ended after the link between them was cut, and what it said.
"""

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from tests.support.namespaces import HERE, Link
from tests.support.runs import points, wait_for

SMALL = (
    "learner.total_frames=1000000", "algo.learning_starts=60", "algo.critic_warmup_updates=10", "algo.utd=2",
    "learner.max_updates_behind=100000", "algo.batch_size=32", "algo.hidden=[16]", "tracking=[]",
    "learner.log_every_s=0.3", "learner.checkpoint_every_s=1", "actor.count=1", "actor.num_envs=2",
    "actor.rows_per_batch=8", "name=run",
)  # fmt: skip
PORT = 29500


def start(
    prefix: Sequence[str], interface: str, words: Sequence[str], folder: Path, name: str
) -> subprocess.Popen[bytes]:
    """A process whose output is in a file of `folder`."""
    environment = os.environ | {"ACCELERATE_USE_CPU": "true", "GLOO_SOCKET_IFNAME": interface}
    with (folder / f"{name}.log").open("wb") as output:
        return subprocess.Popen(
            [*prefix, sys.executable, "-m", *words, *SMALL, f"runs_dir={folder / name}"],
            env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=output,
        )  # fmt: skip


def launch(rank: int) -> list[str]:
    """As docs/how-to/several-gpus.md has it."""
    machines = ["--num_machines", "2", "--num_processes", "2", "--machine_rank", str(rank)]
    meeting = ["--main_process_ip", HERE, "--main_process_port", str(PORT)]
    return ["accelerate.commands.launch", "--multi_gpu", *machines, *meeting, "-m", "learner"]


def main(folder: Path) -> None:
    run_dir = folder / "first" / "run"
    with Link() as link, contextlib.ExitStack() as started:
        hosts = [
            start([], "here", launch(0), folder, "first"),
            start(link.there, "there", launch(1), folder, "second"),
        ]
        actor = start([], "here", ["actor"], folder, "actor")
        for process in (*hosts, actor):
            started.callback(process.wait)
            started.callback(process.kill)
        checkpoint = run_dir / "checkpoints" / "training.pt"
        wait_for(lambda: checkpoint.exists() and points(run_dir)[-1].get("loss/critic"), *hosts, actor)
        link.cut()
        begun_s, ended_s = time.monotonic(), dict[str, float]()
        for name, host in zip(("first", "second"), hosts, strict=True):
            host.wait(60)
            ended_s[name] = time.monotonic() - begun_s
        result = {
            "codes": [host.returncode for host in hosts],
            "ended_s": ended_s,
            "said": {name: (folder / f"{name}.log").read_text() for name in ended_s},
            "second_has_files": (folder / "second").exists(),
            "actor_waits": actor.poll() is None,
        }
    sys.stdout.write(json.dumps(result) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
