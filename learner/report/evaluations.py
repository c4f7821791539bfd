"""evaluations.jsonl: how each seed of each evaluation ended."""

import logging
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Self

import msgspec

from config.files import cut_torn_line
from protocol.messages import Evaluation

log = logging.getLogger(__name__)

FILE = "evaluations.jsonl"


class EvaluationRecord(msgspec.Struct, frozen=True, omit_defaults=True):
    """A line. `successes[i]` belongs to `seeds[i]`."""

    policy: str
    """base or full."""
    version: int
    """Of the weights; 0 for the base."""
    frames: int
    """These three: what the run had come to when the weights were published."""
    updates: int
    t_s: float
    seeds: list[int]
    successes: list[bool]
    wall_s: float
    """Seconds that the evaluation took."""
    true_successes: list[bool] | None = None
    """As the simulator sees them, where a classifier says success."""

    def __post_init__(self) -> None:
        if not self.seeds or len(self.seeds) != len(self.successes):
            raise ValueError(f"{len(self.seeds)} seeds and {len(self.successes)} successes")

    @classmethod
    def of(cls, evaluation: Evaluation, point: Mapping[str, Any]) -> Self:
        """`point`: the evaluation's point in metrics.jsonl."""
        return cls(
            policy=evaluation.policy,
            version=evaluation.version,
            **{key: point[key] for key in ("frames", "updates", "t_s")},
            seeds=evaluation.seeds,
            successes=evaluation.successes,
            wall_s=round(evaluation.wall_s, 3),
            true_successes=evaluation.true_successes,
        )

    @property
    def outcomes(self) -> dict[int, bool]:
        """Seed -> whether it succeeded."""
        return dict(zip(self.seeds, self.successes, strict=True))

    @property
    def identity(self) -> tuple[object, ...]:
        """Of two alike, which end alike too, the first is kept."""
        return self.policy, self.version, tuple(self.seeds)


class EvaluationLog:
    """Appends to a run's evaluations.jsonl; an evaluation that is in it is not written again.

    Args:
        resume: go on in the file of the run that was stopped, instead of anew.
    """

    def __init__(self, run_dir: Path, *, resume: bool) -> None:
        self._path = run_dir / FILE
        if resume:
            cut_torn_line(self._path)
        else:
            self._path.unlink(missing_ok=True)
        self._written = {record.identity for record in read_evaluations(run_dir)}

    def add(self, record: EvaluationRecord) -> None:
        if record.identity not in self._written:
            self._written.add(record.identity)
            with self._path.open("ab") as file:
                file.write(msgspec.json.encode(record) + b"\n")


def read_evaluations(run_dir: Path) -> list[EvaluationRecord]:
    """All evaluations of a run, oldest first; none without a file. A damaged line is said and left out."""
    path = run_dir / FILE
    return list(_records(path)) if path.is_file() else []


def _records(path: Path) -> Iterator[EvaluationRecord]:
    for number, line in enumerate(path.read_bytes().splitlines(), start=1):
        try:
            yield msgspec.json.decode(line, type=EvaluationRecord)
        except (msgspec.DecodeError, RecursionError) as error:
            log.warning("%s: line %d is left out: %s", path, number, error)
