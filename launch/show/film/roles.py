"""Which policies of a run can play in a film, and how their evaluations ended."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from actor.policy.checkpoint_file import read_checkpoint
from actor.policy.contract import CheckpointError
from config.process import UsageError
from launch.run.trained import residual_of_run
from learner.checkpoints.evaluated import FOLDER, kept_versions
from learner.report.evaluations import EvaluationRecord

Policy = Literal["base", "full"]
# Side by side they fit a screen.
MOST_IN_TIMELAPSE = 4


@dataclass(frozen=True)
class Role:
    """A policy, with the weights that it plays with."""

    policy: Policy
    version: int
    residual: Path | None
    outcomes: Mapping[int, bool] = field(default_factory=dict)
    """Seed -> whether it succeeded, as far as it was evaluated with these weights."""

    @property
    def title(self) -> str:
        return "base" if self.policy == "base" else "base + residual"


def base_role(evaluations: Sequence[EvaluationRecord]) -> Role:
    return Role("base", 0, None, _outcomes(evaluations, "base", 0))


def newest_role(run_dir: Path, evaluations: Sequence[EvaluationRecord]) -> Role:
    """The residual that was evaluated last and is kept; the run's best one if there is none.
    Raises UsageError: the run has no residual yet."""
    kept = kept_versions(run_dir / "checkpoints" / FOLDER)
    full = [each.version for each in evaluations if each.policy == "full"]
    version = next((version for version in reversed(full) if version in kept), None)
    if version is not None:
        return Role("full", version, kept[version], _outcomes(evaluations, "full", version))
    place = residual_of_run(f"{run_dir}")
    version = _version_of(place)
    return Role("full", version, place, _outcomes(evaluations, "full", version))


def timelapse_roles(run_dir: Path, evaluations: Sequence[EvaluationRecord]) -> list[Role]:
    """The base, and residuals through training, the newest last.
    Raises UsageError: fewer than two were kept."""
    folder = run_dir / "checkpoints" / FOLDER
    kept = kept_versions(folder)
    if len(kept) < 2:
        raise UsageError(
            f"{folder} has {len(kept)} evaluated residuals, a time lapse needs two: a run keeps those "
            "that it evaluates (learner.evaluation.every_s, learner.evaluation.keep_versions)"
        )
    versions = _spread([*kept], MOST_IN_TIMELAPSE - 1)
    residuals = [
        Role("full", version, kept[version], _outcomes(evaluations, "full", version)) for version in versions
    ]
    return [base_role(evaluations), *residuals]


def _spread(versions: Sequence[int], count: int) -> list[int]:
    """`count` of them or all, the first and the last among them."""
    count = min(count, len(versions))
    return [versions[round(i * (len(versions) - 1) / (count - 1))] for i in range(count)]


def _outcomes(evaluations: Iterable[EvaluationRecord], policy: Policy, version: int) -> dict[int, bool]:
    """Of a policy with weights of this version; of two evaluations of a seed the newer."""
    outcomes: dict[int, bool] = {}
    for each in evaluations:
        if (each.policy, each.version) == (policy, version):
            outcomes |= each.outcomes
    return outcomes


def _version_of(place: Path) -> int:
    content = read_checkpoint(place)
    try:
        return int(content["version"])
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise CheckpointError(f"{place} is no checkpoint of a residual") from error
