"""Evaluations kept as JSON beside what was evaluated, for people, and for `improve`."""

import hashlib
import json
import logging
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from actor.evaluation import EvaluationResult, Outcome
from actor.policy.classifier.figures import judged_figures
from config.files import replace_text
from launch.evaluation.by_start import Row
from launch.evaluation.subject import Subject
from learner.intervals import wilson_interval

log = logging.getLogger("evaluate")


class Kept(msgspec.Struct, frozen=True):
    """One evaluation."""

    time: str
    task: str
    control_mode: str
    base: str
    residual: str | None
    digest: str | None
    """SHA-256 of the checkpoint that was played; None: not known, as of a hub id."""
    first_seed: int
    episodes: int
    success: float
    low: float
    """These two: the 95 % interval (Wilson)."""
    high: float
    mean_frames: float
    successes: list[bool]
    """In the order of the seeds."""
    wall_s: float
    by_start: list[dict[str, Any]]
    true_success: float | None = None
    """These two: as the simulator sees it, where a classifier says success."""
    false_success_share: float | None = None


def make_kept(
    subject: Subject, result: EvaluationResult, outcomes: Sequence[Outcome], rows: Sequence[Row]
) -> Kept:
    success = sum(result.successes) / len(result.successes)
    low, high = wilson_interval(success, len(result.seeds))
    true = result.true_successes
    return Kept(
        time=time.strftime("%Y-%m-%d %H:%M:%S"),
        task=subject.config.task.env_id,
        control_mode=subject.config.task.control_mode,
        base=subject.config.base.path,
        residual=None if subject.residual is None else str(subject.residual),
        digest=digest_of(subject),
        first_seed=result.seeds[0],
        episodes=len(result.seeds),
        success=success,
        low=round(low, 4),
        high=round(high, 4),
        mean_frames=sum(outcome.frames for outcome in outcomes) / len(outcomes),
        successes=result.successes,
        wall_s=round(result.wall_s, 1),
        by_start=[row._asdict() for row in rows],
        **({} if true is None else judged_figures(result.successes, true)),
    )


def digest_of(subject: Subject) -> str | None:
    """SHA-256 of the checkpoint file that plays."""
    folder = Path(subject.config.base.path)
    base_files = (folder / "checkpoints" / "best.pt", folder / "model.safetensors")
    places = [subject.residual] if subject.residual else base_files
    file = next((place for place in places if place.is_file()), None)
    return None if file is None else hashlib.sha256(file.read_bytes()).hexdigest()


def keep(place: Path, kept: Kept) -> None:
    """Add it to the list at `place`. A folder that cannot be written, such as a shared one, is a warning."""
    listed = [*(msgspec.to_builtins(each) for each in read_kept(place)), msgspec.to_builtins(kept)]
    try:
        replace_text(place, json.dumps(listed, indent=1) + "\n")
    except OSError as error:
        log.warning("the evaluation is not kept: %s: %s", place, error.strerror)
    else:
        log.info("kept in %s", place)


def read_kept(place: Path) -> list[Kept]:
    """Oldest first; none where there is no such file, or it is damaged."""
    try:
        return msgspec.json.decode(place.read_bytes(), type=list[Kept])
    except FileNotFoundError:
        return []
    except (OSError, msgspec.DecodeError) as error:
        log.warning("%s cannot be read, earlier evaluations are lost: %s", place, error)
        return []
