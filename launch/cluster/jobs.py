"""`residual-rl jobs`: a row for each job of a run, its log, and its end."""

import sys
from collections.abc import Mapping
from pathlib import Path

import msgspec

from config.process import UsageError
from launch.cluster import slurm
from launch.cluster.record import Submitted, claimed_by, submitted_runs
from launch.cluster.slurm import Queued
from launch.run.folder import percent, read_summary
from launch.show.table.rows import read_row

HEADINGS = ("job", "state", "node", "run", "frames", "base", "success", "queue")


class JobRow(msgspec.Struct, frozen=True):
    """A job. `success` is the newest of the full residual."""

    job: str
    state: str
    node: str
    run: str
    frames: int | None
    base: float | None
    success: float | None
    queue: str

    @property
    def cells(self) -> tuple[str, ...]:
        frames = "-" if self.frames is None else f"{self.frames:,}"
        base, success = ("-" if value is None else percent(value) for value in (self.base, self.success))
        return (self.job, self.state, self.node or "-", self.run, frames, base, success, self.queue)


def show_jobs(folder: Path) -> None:
    """Print a row for each job of the runs in `folder`. Raises UsageError: no Slurm here."""
    found = list(submitted_runs(folder))
    if not found:
        sys.stdout.write(f"no job was submitted for a run in {folder}: residual-rl submit cluster=slurm\n")
        return
    queued = slurm.queued_jobs({job.cluster for _, job in found})
    rows = [HEADINGS, *(_row(run_dir, job, queued).cells for run_dir, job in found)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEADINGS))]
    for row in rows:
        cells = (text.ljust(width) for text, width in zip(row, widths, strict=True))
        sys.stdout.write("  ".join(cells).rstrip() + "\n")


def _row(run_dir: Path, job: Submitted, queued: Mapping[tuple[str | None, str], Queued]) -> JobRow:
    known = queued.get((job.cluster, job.job))
    has_run = claimed_by(run_dir) in (None, job.key)
    run = read_row(run_dir, []) if has_run else None
    return JobRow(
        job=job.key, state=_state(run_dir, known, has_run), node=known.node if known else "",
        run=run_dir.name, frames=run and run.frames, base=run and run.base, success=run and run.final,
        queue=job.queue,
    )  # fmt: skip


def _state(run_dir: Path, known: Queued | None, has_run: bool) -> str:
    """As Slurm names it, with its reason while the job waits; of a job that it has forgotten, what is known
    from the run's folder."""
    if known is not None and known.state == "PENDING":
        return f"PENDING ({known.reason})"
    if known is not None:
        return known.state
    if not has_run:
        return "another queue was first"
    return "finished" if read_summary(run_dir) is not None else "gone"


def find_job(folder: Path, key: str) -> list[Submitted]:
    """The jobs with that id, or all of the array with that id. Raises UsageError: none is."""
    found = [job for _, job in submitted_runs(folder) if key in (job.key, job.job, job.job.partition("_")[0])]
    if not found:
        raise UsageError(f"no job {key} of a run in {folder}: residual-rl jobs lists them")
    return found


def cancel_job(folder: Path, key: str) -> None:
    """Raises UsageError: no such job, or Slurm refuses."""
    for job in find_job(folder, key):
        slurm.cancel(job.job, job.cluster)
        sys.stdout.write(f"cancelled job {job.key}\n")


def show_log(folder: Path, key: str) -> None:
    """Print what a job has written. Raises UsageError: no such job, or it has not started."""
    for job in find_job(folder, key):
        path = Path(job.log)
        if not path.is_file():
            raise UsageError(f"job {job.key} has written nothing yet: its log will be {path}")
        sys.stdout.write(path.read_text(errors="replace"))
