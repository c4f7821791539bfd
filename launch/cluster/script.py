"""The script of a job, made by submitit, and what it asks of Slurm."""

import shlex
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from submitit import SlurmExecutor
from submitit.slurm.slurm import _make_sbatch_string

from config.cluster import Queue, SlurmConfig
from config.process import UsageError, one_line


class Executor(SlurmExecutor):
    """submitit's, whose script can be seen where there is no Slurm."""

    @classmethod
    def affinity(cls) -> int:
        return 1

    def script(self, jobs: int = 1) -> str:
        """What `hand_over` gives to sbatch for so many calls."""
        asked: dict[str, Any] = self.parameters | ({} if jobs == 1 else {"map_count": jobs})
        return _make_sbatch_string(self._submitit_command_str, self.folder, **asked)

    def hand_over(self, calls: Sequence[Callable[[], None]]) -> list[tuple[str, Path]]:
        """Submit a job for each call, as one array if there are several; returns (job, file of its output).
        Raises UsageError: sbatch refused."""
        try:
            return [(job.job_id, job.paths.stdout) for job in self.submit_array(calls)]
        except RuntimeError as error:  # submitit's errors are, with what sbatch said
            raise UsageError(f"sbatch refused the job: {one_line(error)}") from error


def make_executor(name: str, folder: Path, cluster: SlurmConfig, queue: Queue) -> Executor:
    """What submits jobs called `name` to the queue, with their scripts and logs in `folder`."""
    python = cluster.python or sys.executable
    words = shlex.join([*cluster.container_command, python])
    executor = Executor(folder.resolve(), max_num_timeout=cluster.restarts, python=words)
    executor.update_parameters(**_parameters(name, cluster, queue))
    return executor


def _parameters(name: str, cluster: SlurmConfig, queue: Queue) -> dict[str, Any]:
    """By submitit's names."""
    more = {key: value or True for key, _, value in (o[2:].partition("=") for o in cluster.options)}
    if queue.cluster is not None:
        more["clusters"] = queue.cluster
    return {
        "job_name": name,
        "partition": ",".join(queue.partitions) or None,
        "account": cluster.account,
        "qos": cluster.qos,
        "time": cluster.time_min,
        "nodes": cluster.nodes,
        "ntasks_per_node": 1,
        "cpus_per_task": cluster.cpus,
        "gpus_per_node": cluster.gpus or None,
        "mem": None if cluster.memory_gb is None else f"{round(1024 * cluster.memory_gb)}M",
        "signal_delay_s": cluster.grace_s,
        "array_parallelism": cluster.at_once,
        "setup": list(cluster.before) or None,
        "stderr_to_stdout": True,
        "wckey": None,
        # A node that fails, and a job of a higher partition, put it back into the queue.
        "additional_parameters": {"requeue": True, **more},
        # srun does not take the number of processors from the script.
        "srun_args": [f"--cpus-per-task={cluster.cpus}", "--kill-on-bad-exit=1", *cluster.container_args],
    }


def describe(cluster: SlurmConfig, queue: Queue, jobs: int = 1) -> str:
    """What is asked, in a line."""
    memory = "the partition's memory" if cluster.memory_gb is None else f"{cluster.memory_gb:g} GB"
    account = "" if cluster.account is None else f", paid by {cluster.account}"
    array = "" if jobs == 1 else f"{jobs} jobs, {min(jobs, cluster.at_once)} at once, each "
    return (
        f"{array}{cluster.nodes} node(s) of {queue}, on each {cluster.cpus} processors, {cluster.gpus} GPUs "
        f"and {memory}, for {cluster.time_min} minutes{account}"
    )
