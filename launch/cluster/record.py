"""The folder `cluster/` of a run: which jobs were submitted for it, and which of them is the run."""

import json
import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from config.files import replace_text
from config.process import UsageError

FOLDER = "cluster"
CONFIGURATION = f"{FOLDER}/submitted.yaml"
"""The run as it was submitted; launch.yaml is what one start made of it."""


class Submitted(msgspec.Struct, frozen=True):
    """A job that was submitted for a run. `queue` as people read it, `log` the file of its output."""

    job: str
    cluster: str | None
    queue: str
    log: str
    submitted_unix: float = msgspec.field(default_factory=time.time)

    @property
    def key(self) -> str:
        """Names it among the jobs of all clusters."""
        return key_of(self.job, self.cluster)


def key_of(job: str, cluster: str | None) -> str:
    return job if cluster is None else f"{job}@{cluster}"


class Ended(msgspec.Struct, frozen=True):
    """How the launcher in a job ended."""

    job: str
    code: int
    error: str


def read_submitted(run_dir: Path) -> tuple[Submitted, ...]:
    """Jobs of the newest submission; none where there was none, or nothing can be read."""
    try:
        return msgspec.json.decode((run_dir / FOLDER / "jobs.json").read_bytes(), type=tuple[Submitted, ...])
    except (OSError, ValueError):
        return ()


def write_submitted(run_dir: Path, jobs: Sequence[Submitted]) -> None:
    text = json.dumps(msgspec.to_builtins(tuple(jobs)), indent=2)
    replace_text(run_dir / FOLDER / "jobs.json", text + "\n")


def submitted_runs(folder: Path) -> Iterator[tuple[Path, Submitted]]:
    """(run's folder, job) of all runs under `folder`. Raises UsageError: there is no such folder."""
    if not folder.is_dir():
        raise UsageError(f"no folder {folder}: name the folder of your runs")
    for path in sorted(folder.glob(f"*/{FOLDER}/jobs.json")):
        run_dir = path.parents[1]
        yield from ((run_dir, job) for job in read_submitted(run_dir))


def claim(run_dir: Path, key: str) -> str:
    """Of several jobs of one run exactly one gets the run, and keeps it when it is started again.
    Returns the key of the job that has it."""
    place, own = run_dir / FOLDER / "claim", run_dir / FOLDER / f"claim.{key}"
    own.write_text(f"{key}\n")
    try:
        os.link(own, place)  # with its content at once, on network file systems too
    except FileExistsError:
        pass
    finally:
        own.unlink(missing_ok=True)
    return claimed_by(run_dir) or key


def claimed_by(run_dir: Path) -> str | None:
    """The key of the job that is the run; None: none has started."""
    try:
        return (run_dir / FOLDER / "claim").read_text().strip()
    except FileNotFoundError:
        return None


def forget_claim(run_dir: Path) -> None:
    """Before a new submission."""
    for name in ("claim", "ended.json"):
        (run_dir / FOLDER / name).unlink(missing_ok=True)


def read_ended(run_dir: Path) -> Ended | None:
    try:
        return msgspec.json.decode((run_dir / FOLDER / "ended.json").read_bytes(), type=Ended)
    except (OSError, ValueError):
        return None


def write_ended(run_dir: Path, ended: Ended) -> None:
    replace_text(run_dir / FOLDER / "ended.json", json.dumps(msgspec.to_builtins(ended)) + "\n")
