"""A study as jobs of Slurm: all runs are submitted at once, and recorded as they end."""

import logging
import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from config.cluster import SlurmConfig
from config.compose import compose_config
from config.files import cut_torn_line
from config.process import StopRequest, UsageError
from launch.cluster import slurm
from launch.cluster.record import Submitted, read_ended, read_submitted
from launch.cluster.submit import Batch, submit
from launch.run.code_version import CodeVersion
from launch.run.folder import read_summary
from launch.study.records import read_records
from launch.study.study import (
    Study,
    Trial,
    is_recorded,
    new_name,
    record_run,
    require_files,
    run_overrides,
    trials,
)

log = logging.getLogger("study")

# Beside the runs: docs/reference/run-folder.md
_FOLDER = "studies"
_LOOK_S = 5.0


class Waiting(msgspec.Struct, frozen=True):
    """A run of the study that was submitted, and is not recorded yet."""

    name: str
    task: str
    setting: str
    seed: int
    overrides: tuple[str, ...]
    commit: str
    code: str
    started: str

    @property
    def trial(self) -> Trial:
        return Trial(self.task, self.setting, self.seed, self.overrides)


def submit_study(study: Study, cluster: SlurmConfig, stop: StopRequest, look_s: float = _LOOK_S) -> int:
    """Submit what is neither recorded nor submitted, and record runs as they end; returns the exit code.
    Raises UsageError: Slurm is not here, or refuses; then nothing is submitted."""
    if study.run_budget_min is not None:
        raise UsageError("run_budget_min is of runs on this machine: leave it out with cluster=slurm")
    require_files(study)
    # Trackers show the runs of a study together; jobs have this process's environment.
    os.environ.setdefault("WANDB_RUN_GROUP", study.name)
    folder = Path(study.runs_dir) / _FOLDER / study.name
    code = CodeVersion.here()
    waiting = submitted_before(study, folder, code)
    known = {(each.trial.command, each.seed) for each in waiting}
    missing = [
        trial for trial in trials(study)
        if (trial.command, trial.seed) not in known and not is_recorded(trial, study, code)
    ]  # fmt: skip
    waiting += _submit(study, cluster, missing, folder, code)
    log.info("%d runs are jobs, %d of them new", len(waiting), len(missing))
    return _collect(study, waiting, stop, look_s)


def submitted_before(study: Study, folder: Path, code: CodeVersion) -> list[Waiting]:
    """Runs of this code that an earlier call submitted, less those that are recorded."""
    path = folder / "submitted.jsonl"
    cut_torn_line(path)
    lines = path.read_bytes().splitlines() if path.is_file() else []
    recorded = {record["name"] for record in read_records(Path(study.record))}
    found = (msgspec.json.decode(line, type=Waiting) for line in lines)
    return [each for each in found if each.name not in recorded and each.code == code.digest]


def _submit(
    study: Study, cluster: SlurmConfig, missing: Sequence[Trial], folder: Path, code: CodeVersion
) -> list[Waiting]:
    if not missing:
        return []
    started = time.strftime("%Y-%m-%d %H:%M")
    waiting = [
        Waiting(
            new_name(trial, study), trial.task, trial.setting, trial.seed, trial.overrides, code.commit,
            code.digest, started,
        )
        for trial in missing
    ]  # fmt: skip
    runs = (
        compose_config([*run_overrides(trial, study), f"name={each.name}"])
        for trial, each in zip(missing, waiting, strict=True)
    )
    submit(Batch(study.name, folder, tuple(runs), cluster))
    with (folder / "submitted.jsonl").open("ab") as file:
        file.writelines(msgspec.json.encode(each) + b"\n" for each in waiting)
    return waiting


def _collect(study: Study, waiting: list[Waiting], stop: StopRequest, look_s: float) -> int:
    """Record each run once its jobs are over."""
    while waiting:
        for each, status in list(_over(study, waiting)):
            waiting.remove(each)
            code = CodeVersion(each.commit, each.code)
            record_run(each.trial, study, code, each.name, each.started, status)
        if waiting and stop.wait(look_s):
            log.info("%d runs go on as jobs; the same command waits for them again", len(waiting))
            return stop.exit_code
    return 0


def _over(study: Study, waiting: Sequence[Waiting]) -> Iterator[tuple[Waiting, str]]:
    """(run, how it ended) of those whose jobs are over."""
    jobs = {each.name: read_submitted(Path(study.runs_dir) / each.name) for each in waiting}
    queued = slurm.queued_jobs({job.cluster for several in jobs.values() for job in several})
    for each in waiting:
        states = [queued.get((job.cluster, job.job)) for job in jobs[each.name]]
        if all(state is None or state.over for state in states):
            known = [state.state for state in states if state is not None]
            yield each, _status(Path(study.runs_dir) / each.name, jobs[each.name], known)


def _status(run_dir: Path, jobs: Sequence[Submitted], states: Sequence[str]) -> str:
    """As a study on this machine says it."""
    ended = read_ended(run_dir)
    if read_summary(run_dir) is not None:
        return "finished"
    if "CANCELLED" in states and "FAILED" not in states:
        return "stopped: cancelled"
    if ended is not None and ended.code:
        return f"failed: {ended.error}"
    return f"failed: job {', '.join(job.key for job in jobs)} is {' and '.join(states) or 'gone'}"
