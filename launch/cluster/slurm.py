"""What Slurm's own commands say and do. Knows nothing of runs."""

import shutil
import subprocess
from collections.abc import Collection, Sequence

import msgspec

from config.process import UsageError

# As squeue names the states of a job that is over.
OVER = (
    "BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "NODE_FAIL", "OUT_OF_MEMORY", "PREEMPTED",
    "REVOKED", "TIMEOUT",
)  # fmt: skip
_TIMEOUT_S = 60


class SlurmError(UsageError):
    """Slurm is not here, does not answer, or refuses; its own words in one line."""


class Node(msgspec.Struct, frozen=True):
    """What a node has, as a partition lends it. `limit_min`: the partition's time limit; None: none."""

    name: str
    partition: str
    default: bool
    up: bool
    cpus: int
    memory_mb: int
    gpus: int
    limit_min: int | None


class Queued(msgspec.Struct, frozen=True):
    """A job that Slurm still knows."""

    job: str
    state: str
    node: str
    reason: str

    @property
    def over(self) -> bool:
        return self.state in OVER


def ask(argv: Sequence[str], text: str | None = None) -> str:
    """What a command of Slurm prints; `text` is its standard input.
    Raises SlurmError: it is not here, failed, or did not answer."""
    program = argv[0]
    if shutil.which(program) is None:
        raise SlurmError(
            f"no Slurm here: {program} is not found. Log in to a host of the cluster, or load its module"
        )
    try:
        done = subprocess.run(argv, input=text, capture_output=True, text=True, timeout=_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        raise SlurmError(f"{program} did not answer for {_TIMEOUT_S} s: is Slurm's controller up?") from None
    if done.returncode:
        said = " ".join((done.stderr or done.stdout).split())
        raise SlurmError(f"{program} failed: {said.removeprefix(f'{program}: ').removeprefix('error: ')}")
    return done.stdout


def read_nodes(cluster: str | None) -> list[Node]:
    """Every node of every partition. Raises SlurmError."""
    words = ["--noheader", "--Node", "--format=%N|%P|%a|%c|%m|%G|%l", *_of(cluster)]
    return [node for line in ask(["sinfo", *words]).splitlines() if (node := _node(line))]


def _node(line: str) -> Node | None:
    """None for a heading, such as the name of a cluster."""
    words = line.strip().split("|")
    if len(words) != 7:
        return None
    name, partition, available, cpus, memory_mb, generic, limit = words
    return Node(
        name=name, partition=partition.removesuffix("*"), default=partition.endswith("*"),
        up=available == "up", cpus=int(cpus.rstrip("+")), memory_mb=int(memory_mb.rstrip("+")),
        gpus=gpus_in(generic), limit_min=minutes(limit),
    )  # fmt: skip


def gpus_in(generic: str) -> int:
    """GPUs among a node's generic resources, such as gpu:a100:4(S:0-1),nvme:1."""
    found = 0
    for entry in generic.replace(")", ",").split(","):
        kind, *rest = entry.partition("(")[0].split(":")
        if kind == "gpu" and rest and rest[-1].isdecimal():
            found += int(rest[-1])
    return found


def minutes(limit: str) -> int | None:
    """Whole minutes of a time limit: MM, MM:SS, HH:MM:SS or D-HH:MM:SS; None: no limit."""
    days, dash, rest = limit.rpartition("-")
    parts = rest.split(":")
    if not all(part.isdecimal() for part in parts):
        return None
    if len(parts) == 3:
        hours, mins = int(parts[0]), int(parts[1])
    elif dash:
        hours, mins = int(parts[0]), int(parts[1]) if len(parts) > 1 else 0
    else:
        hours, mins = 0, int(parts[0])
    return (int(days or 0) * 24 + hours) * 60 + mins


def queued_jobs(clusters: Collection[str | None]) -> dict[tuple[str | None, str], Queued]:
    """(cluster, job) -> what Slurm still knows of this person's jobs; of an array each task.
    Raises SlurmError."""
    found: dict[tuple[str | None, str], Queued] = {}
    for cluster in set(clusters):
        words = ["--me", "--noheader", "--array", "--states=all", "--format=%i|%T|%N|%r", *_of(cluster)]
        for line in ask(["squeue", *words]).splitlines():
            if line.count("|") == 3:
                queued = Queued(*line.strip().split("|"))
                found[cluster, queued.job] = queued
    return found


def cancel(job: str, cluster: str | None) -> None:
    """Raises SlurmError."""
    ask(["scancel", *_of(cluster), job])


def requeue(job: str) -> None:
    """Raises SlurmError."""
    ask(["scontrol", "requeue", job])


def is_preempted(job: str) -> bool:
    """Whether a job that runs has been told to make room for another. Raises SlurmError."""
    words = ask(["scontrol", "--oneliner", "show", "job", job]).split()
    shown = dict(word.split("=", 1) for word in words if "=" in word)
    return shown.get("JobState") == "RUNNING" and shown.get("PreemptTime", "None") not in ("None", "Unknown")


def test_script(script: str) -> None:
    """Ask whether Slurm would take the script of a job. Raises SlurmError: it would not."""
    ask(["sbatch", "--test-only"], script)


def _of(cluster: str | None) -> list[str]:
    return [] if cluster is None else [f"--clusters={cluster}"]
