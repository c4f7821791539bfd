"""Inside a network namespace: one learner of two hosts, rank 0 here and rank 1 in a second namespace.

    python -m tests.system.ranks_child FOLDER

The link between them is cut, then mended, and both are started again. Prints one JSON object: how each ended,
and what it said.
"""

import contextlib
import json
import os
import subprocess
import sys
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
LONGEST_S = 300.0  # each start imports torch in seven processes


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


class Hosts:
    """Rank 0 here and rank 1 there, for one start of the learner."""

    def __init__(self, link: Link, folder: Path) -> None:
        prefixes = ((), "here"), (link.there, "there")
        self.names = [name for _, name in prefixes]
        self.processes = [
            start(prefix, name, launch(rank), folder, name) for rank, (prefix, name) in enumerate(prefixes)
        ]
        self._folder = folder

    def wait(self, timeout_s: float) -> list[int]:
        """Exit codes."""
        return [process.wait(timeout_s) for process in self.processes]

    def said(self) -> list[str]:
        return [(self._folder / f"{name}.log").read_text() for name in self.names]

    def end(self) -> None:
        """With the ranks, which torch's launcher ends where it is asked to end itself."""
        for process in self.processes:
            process.terminate()
        self.wait(60)


def main(folder: Path) -> None:
    run_dir = folder / "here" / "run"

    def updates() -> int:
        found = [point["updates"] for point in points(run_dir) if "loss/critic" in point]
        return found[-1] if found else 0

    with Link() as link, contextlib.ExitStack() as started:
        hosts = Hosts(link, folder)
        started.callback(hosts.end)
        actor = start([], "here", ["actor"], folder, "actor")
        started.callback(actor.wait)
        started.callback(actor.kill)
        checkpoint = run_dir / "checkpoints" / "training.pt"
        wait_for(lambda: checkpoint.exists() and updates(), *hosts.processes, actor, timeout_s=LONGEST_S)
        link.cut()
        codes, said = hosts.wait(60), hosts.said()
        link.mend()
        before = updates()
        again = Hosts(link, folder)
        started.callback(again.end)
        wait_for(lambda: updates() > before, *again.processes, actor, timeout_s=LONGEST_S)
        result = {
            "codes": codes, "said": said, "said_again": again.said(),
            "second_has_files": (folder / "there").exists(),
        }  # fmt: skip
    sys.stdout.write(json.dumps(result) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
