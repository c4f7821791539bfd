"""One evaluation from start to end: a line for people and one for programs."""

import json
import logging
import sys
from dataclasses import dataclass
from typing import NamedTuple

import msgspec

from actor.evaluation import EvaluationResult
from actor.policy.dimensions import dimensions_of
from config.main import Config
from config.process import StopRequest
from launch.evaluation.by_start import Row, by_start, chosen_dimensions
from launch.evaluation.kept import Kept, keep, make_kept
from launch.evaluation.play import play, processes_for
from launch.evaluation.subject import Subject
from launch.run.startable import require_base

log = logging.getLogger("evaluate")


@dataclass(frozen=True)
class Asked:
    """What the command line asks of an evaluation; None: as the configuration has it."""

    episodes: int | None = None
    first_seed: int | None = None
    processes: int | None = None
    by: str | None = None

    def applied_to(self, config: Config) -> Config:
        given = {"episodes": self.episodes, "first_seed": self.first_seed}
        evaluation = msgspec.structs.replace(
            config.learner.evaluation, **{key: value for key, value in given.items() if value is not None}
        )
        learner = msgspec.structs.replace(config.learner, evaluation=evaluation)
        return msgspec.structs.replace(config, learner=learner)


class Evaluated(NamedTuple):
    """An evaluation that was played to its end."""

    result: EvaluationResult
    kept: Kept
    tables: dict[int, list[Row]]
    """Success by each dimension of the first observation that was asked for and differs."""


def evaluate(subject: Subject, asked: Asked, stop: StopRequest) -> Evaluated | None:
    """Play the episodes, and keep what came of them beside what was evaluated; None if `stop` was set
    meanwhile.
    Raises UsageError: it cannot be played. FailedError: a process failed."""
    config = asked.applied_to(subject.config)
    subject = Subject(config, subject.residual)
    dimensions = [] if asked.by is None else _dimensions(config, asked.by)
    require_base(config)
    log.info("evaluating %s on %s", subject, config.task.env_id)
    played = play(subject, processes_for(config, asked.processes), stop)
    if played is None:
        return None
    result, outcomes = played
    tables = by_start(outcomes, dimensions)
    kept = make_kept(subject, result, outcomes, [row for table in tables.values() for row in table])
    if subject.results is not None:
        keep(subject.results, kept)
    return Evaluated(result, kept, tables)


def evaluate_and_report(subject: Subject, asked: Asked, stop: StopRequest) -> float | None:
    """As `evaluate`, and print the result.

    Returns:
        the success rate; None if `stop` was set meanwhile.
    """
    evaluated = evaluate(subject, asked, stop)
    if evaluated is None:
        return None
    result, kept, tables = evaluated
    log.info(
        "success %.0f %% of %d episodes, 95 %% interval %.0f to %.0f %%, seeds %d to %d",
        100 * kept.success, kept.episodes, 100 * kept.low, 100 * kept.high, result.seeds[0], result.seeds[-1],
    )  # fmt: skip
    if kept.true_success is not None:
        share = kept.false_success_share
        false = "" if share is None else f", {100 * share:.0f} % of the successes are false"
        log.info("the classifier says so; in truth %.0f %%%s", 100 * kept.true_success, false)
    _show(tables, asked.by)
    sys.stdout.write(json.dumps(result.figures() | {"low": kept.low, "high": kept.high}) + "\n")
    return kept.success


def _dimensions(config: Config, by: str) -> list[int]:
    return chosen_dimensions(by, _parts(config, by), dimensions_of(config.task).observation_dim)


def _parts(config: Config, by: str) -> dict[str, int]:
    """Names and widths of the observation's parts, which a simulator tells; not asked for indices alone."""
    if all(word.strip().isdecimal() for word in by.split(",")):
        return {}
    from actor.simulators.inspect import first_observation

    parts = first_observation(config.task, config.learner.evaluation.first_seed)
    return {name: len(values) for name, values in parts.items()}


def _show(tables: dict[int, list[Row]], by: str | None) -> None:
    if by is not None and not tables:
        log.info("all episodes start with the same values there")
    for dimension, rows in tables.items():
        log.info("by the first observation's dimension %d:", dimension)
        for row in rows:
            log.info("  %s", row)
