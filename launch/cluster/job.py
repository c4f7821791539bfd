"""What a job does: the ordinary launcher on its first node, actors on the others, and a clean stop before
Slurm ends it. submitit starts it, and again after the job was put back into the queue."""

import logging
import os
import re
import signal
import sys
import time
from pathlib import Path
from types import FrameType

import msgspec
from submitit import JobEnvironment
from submitit.core.utils import DelayedSubmission

from config.compose import read_config, write_config
from config.main import Config
from config.process import PLAIN, set_up_logging
from launch.cluster import slurm
from launch.cluster.nodes import Meeting, processes_of, run_actors
from launch.cluster.program import Program
from launch.cluster.record import CONFIGURATION, FOLDER, Ended, claim, key_of, read_submitted, write_ended
from launch.run.folder import read_summary
from launch.run.holder import is_alive
from launch.run.ports import free_ports

log = logging.getLogger("job")

# A launcher ends all its processes within ten seconds; then there is time to ask Slurm.
_PATIENCE_S = 15.0
# A network file system keeps the locks of a node that has died for a while.
_LOCKED_S = 180.0
_LAUNCHER = (sys.executable, "-m", "launch", "run", "--config")


class RunJob:
    """One run as a job.

    Args:
        run_dir: has what `submit` wrote.
        cluster: of several clusters the one that this job is in.
        own_ports: the run's ports were asked for; else the job takes free ones of its node.
    """

    def __init__(self, run_dir: Path, cluster: str | None, own_ports: bool) -> None:
        self._run_dir, self._cluster, self._own_ports = run_dir, cluster, own_ports
        self._launcher: Program | None = None
        self._terminated = False

    def __call__(self) -> None:
        """Called by submitit on every node of the job."""
        set_up_logging("job       | " + PLAIN)
        environment = JobEnvironment()
        meeting = Meeting(self._run_dir, environment.job_id)
        if environment.global_rank:
            run_actors(self._run_dir, environment.global_rank, meeting)
            return
        job, key = environment.job_id, key_of(environment.job_id, self._cluster)
        if (taken := claim(self._run_dir, key)) != key:
            log.info("job %s has the run already: nothing to do", taken)
            return
        self._cancel_others(key)
        if read_summary(self._run_dir) is not None:
            log.info("the run is over: nothing to do")
            return
        signal.signal(signal.SIGTERM, self._terminate)
        self._launch(job, meeting if environment.num_nodes > 1 else None)

    def checkpoint(self) -> DelayedSubmission:
        """Called by submitit in the handler of the signal that comes before the job's end: stops the run
        cleanly. Returns what to do when the job is started again."""
        if self._launcher is not None:
            log.info("the job is about to end: stopping the run")
            self._launcher.end(_PATIENCE_S)
        return DelayedSubmission(RunJob(self._run_dir, self._cluster, self._own_ports))

    def _launch(self, job: str, meeting: Meeting | None) -> None:
        _wait_until_free(self._run_dir)
        config = self._on_this_node(read_config(self._run_dir / CONFIGURATION), meeting)
        path = self._run_dir / FOLDER / "run.yaml"
        write_config(path, config)
        if meeting is not None:
            meeting.invite(config.wire)
        if self._terminated:
            code = 128 + signal.SIGTERM
        else:
            self._launcher = Program((*_LAUNCHER, str(path)))
            code = self._launcher.wait()
        if not (self._terminated and _makes_room(job)):
            error = _first_error(self._run_dir, job) if code else ""
            write_ended(self._run_dir, Ended(key_of(job, self._cluster), code, error))
        sys.exit(code)

    def _on_this_node(self, config: Config, meeting: Meeting | None) -> Config:
        """With what this node gives it."""
        wire, actor = config.wire, config.actor
        if not self._own_ports:
            experience, weights = free_ports()
            wire = msgspec.structs.replace(wire, experience_port=experience, weights_port=weights)
        if meeting is not None:
            wire = meeting.with_keys(wire)
        actor = msgspec.structs.replace(actor, processes=processes_of(actor, of_learner=1))
        return msgspec.structs.replace(config, resume="auto", wire=wire, actor=actor)

    def _cancel_others(self, key: str) -> None:
        """The jobs of the same run in other queues."""
        for other in read_submitted(self._run_dir):
            if other.key != key:
                try:
                    slurm.cancel(other.job, other.cluster)
                    log.info("cancelled job %s in %s", other.key, other.queue)
                except slurm.SlurmError as error:  # it ends by itself once it starts
                    log.warning("job %s in %s is not cancelled: %s", other.key, other.queue, error)

    def _terminate(self, number: int, frame: FrameType | None) -> None:
        self._terminated = True
        if self._launcher is not None and self._launcher.ended() is None:
            self._launcher.stop()


def _makes_room(job: str) -> bool:
    """Put the job back into the queue if another takes its place; where Slurm cannot be asked, False."""
    try:
        if not slurm.is_preempted(job):
            return False
        log.info("the job makes room for another: back into the queue")
        slurm.requeue(job)
    except slurm.SlurmError as error:
        log.warning("%s", error)
        return False
    return True


def _wait_until_free(run_dir: Path) -> None:
    """Until the processes of an earlier start have left the folder; the launcher says so if they have not."""
    deadline_s = time.monotonic() + _LOCKED_S
    while is_alive(run_dir) and time.monotonic() < deadline_s:
        time.sleep(1.0)


def _first_error(run_dir: Path, job: str) -> str:
    """What the launcher said first; the rest are consequences."""
    [log_file] = [each.log for each in read_submitted(run_dir) if each.job == job][:1] or [os.devnull]
    lines = Path(log_file).read_text(errors="replace").splitlines()
    start = max((i for i, line in enumerate(lines) if "Starting with JobEnvironment" in line), default=0)
    said = (re.search(r"error: (.*)", line) for line in lines[start:])
    return next((found[1] for found in said if found), "nothing was said")
