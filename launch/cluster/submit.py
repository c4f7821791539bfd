"""Hands runs to Slurm: checks what can be known before, then submits a job for each run."""

import importlib.util
import logging
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from config.cluster import Queue, SlurmConfig
from config.compose import write_config
from config.files import require_writable
from config.main import Config
from config.process import StopRequest, UsageError
from launch.cluster import slurm
from launch.cluster.limits import ClusterError, require_gpus, require_room, require_shared
from launch.cluster.record import (
    CONFIGURATION,
    FOLDER,
    Submitted,
    claimed_by,
    forget_claim,
    read_submitted,
    write_submitted,
)
from launch.run.inputs import on_other_hosts, require_inputs
from launch.run.startable import require_files, require_settings, with_played, with_sizes
from learner.folder import make_run_dir

if TYPE_CHECKING:
    from launch.cluster.script import Executor

log = logging.getLogger("submit")

_PORTS = ("wire.experience_port=", "wire.weights_port=")


@dataclass(frozen=True)
class Batch:
    """Runs that are submitted together, a job each; their scripts are in `folder`.

    `own_ports`: their ports were asked for; else each job takes free ones of its node."""

    name: str
    folder: Path
    runs: tuple[Config, ...]
    cluster: SlurmConfig
    own_ports: bool = False


def batch_of(config: Config, cluster: SlurmConfig, words: tuple[str, ...]) -> Batch:
    """One run, as the words of a command line asked for it."""
    own_ports = any(word.startswith(_PORTS) for word in words)
    return Batch(config.name, config.run_dir / FOLDER, (config,), cluster, own_ports)


def show(batch: Batch) -> None:
    """Print what would be asked, and the script. Works without Slurm, and writes nothing."""
    from launch.cluster.script import describe

    require_startable(batch)
    require_usable(batch)
    for queue in batch.cluster.places:
        folders = ", ".join(str(config.run_dir) for config in batch.runs)
        sys.stdout.write(f"# asks for {describe(batch.cluster, queue, len(batch.runs))}\n# runs: {folders}\n")
        sys.stdout.write(_executor(batch, queue).script(len(batch.runs)) + "\n")


def submit(batch: Batch) -> dict[str, tuple[Submitted, ...]]:
    """Submit each run to each queue; returns name of the run -> its jobs.
    Raises UsageError: Slurm is not here or cannot have them; then nothing is submitted."""
    require_startable(batch)
    executors = [(queue, _executor(batch, queue)) for queue in batch.cluster.places]
    for queue, executor in executors:
        nodes = require_room(batch.cluster, queue, slurm.read_nodes(queue.cluster))
        require_shared(batch.folder, batch.cluster, nodes)
        slurm.test_script(executor.script(len(batch.runs)))
    require_unsubmitted(batch)
    for config in require_usable(batch):
        _prepare(config)
    jobs: dict[str, tuple[Submitted, ...]] = {config.name: () for config in batch.runs}
    for queue, executor in executors:
        for config, job in zip(batch.runs, _hand_over(batch, executor, queue), strict=True):
            jobs[config.name] = (*jobs[config.name], job)
            write_submitted(config.run_dir, jobs[config.name])
            log.info("job %s in %s: %s", job.key, queue, config.run_dir)
    for config in batch.runs:
        _cancel_losers(config.run_dir)
    return jobs


def require_startable(batch: Batch) -> None:
    """What a job would find out after hours in the queue.
    Raises UsageError: submitit or a part of a run is missing, or a folder cannot be written."""
    if importlib.util.find_spec("submitit") is None:
        raise UsageError("cluster=slurm needs submitit: bash launch/setup_env.sh cluster")
    for config in batch.runs:
        require_gpus(config, batch.cluster)
        require_settings(config)
        require_files(config)
    require_writable(batch.folder, folder=True)


def require_usable(batch: Batch) -> tuple[Config, ...]:
    """As a launcher completes and checks runs, without the devices of their nodes. Runs that differ in what
    is not looked at are looked at once.
    Raises UsageError, FailedError: the task, the base, the classifier or prior data cannot be used."""
    runs = tuple(with_played(with_sizes(config)) for config in batch.runs)
    looked = {msgspec.json.encode(_looked_at(config)): config for config in runs}
    for config in looked.values():
        require_inputs(on_other_hosts(config), StopRequest())
    return runs


def _looked_at(config: Config) -> tuple[object, ...]:
    algo = config.algo if config.algo.trains_base else config.algo.reads_demos
    return config.task, config.base, config.learner, algo


def require_unsubmitted(batch: Batch) -> None:
    """Raise ClusterError if a job of one of the runs is queued or runs."""
    earlier = [(config, job) for config in batch.runs for job in read_submitted(config.run_dir)]
    if not earlier:
        return
    alive = slurm.queued_jobs({job.cluster for _, job in earlier})
    for config, job in earlier:
        queued = alive.get((job.cluster, job.job))
        if queued is not None and not queued.over:
            raise ClusterError(
                f"{config.run_dir} has job {job.key} already ({queued.state}): choose another name=<run>, "
                f"or end it with residual-rl jobs --cancel {job.key}"
            )


def _prepare(config: Config) -> None:
    """The run's folder, with what its job reads."""
    run_dir = make_run_dir(config)
    (run_dir / FOLDER).mkdir(exist_ok=True)
    forget_claim(run_dir)
    write_config(run_dir / CONFIGURATION, config)
    write_config(run_dir / "launch.yaml", config)  # tells other verbs that this is a run


def _executor(batch: Batch, queue: Queue) -> "Executor":
    from launch.cluster.script import make_executor

    return make_executor(batch.name, batch.folder, batch.cluster, queue)


def _hand_over(batch: Batch, executor: "Executor", queue: Queue) -> list[Submitted]:
    from launch.cluster.job import RunJob

    calls = [RunJob(config.run_dir.resolve(), queue.cluster, batch.own_ports) for config in batch.runs]
    found = executor.hand_over(calls)
    return [Submitted(job, queue.cluster, str(queue), str(log_file)) for job, log_file in found]


def _cancel_losers(run_dir: Path) -> None:
    """A job that started before the others were submitted did not know them."""
    winner = claimed_by(run_dir)
    for job in read_submitted(run_dir):
        if winner not in (None, job.key):
            slurm.cancel(job.job, job.cluster)
            log.info("job %s has started: cancelled job %s", winner, job.key)
