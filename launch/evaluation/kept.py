"""Evaluations kept as JSON beside what was evaluated, for people."""

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
from config.files import locked_in_turn, replace_text
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
    names = ("checkpoints/best.pt", "checkpoints/best.safetensors", "model.safetensors")
    base_files = (folder / name for name in names)
    places = [subject.residual] if subject.residual else base_files
    file = next((place for place in places if place.is_file()), None)
    if file is None:
        return None
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def keep(place: Path, kept: Kept) -> None:
    """Add it to the list at `place`. A folder that cannot be written, such as a shared one, is a warning."""
    try:
        with locked_in_turn(place.parent):
            listed = [*_earlier(place), kept]
            replace_text(place, json.dumps(msgspec.to_builtins(listed), indent=1) + "\n")
    except OSError as error:
        log.warning("the evaluation is not kept: %s: %s", place, error.strerror)
    else:
        log.info("kept in %s", place)


def _earlier(place: Path) -> list[Kept]:
    """Those at `place`; none where it is damaged: it has another name then. Raises OSError."""
    try:
        return read_kept(place)
    except msgspec.DecodeError as error:
        aside = place.with_name(f"{place.name}.unreadable")
        log.warning("%s cannot be read, it is %s now: %s", place, aside.name, error)
        place.rename(aside)
        return []


def read_kept(place: Path) -> list[Kept]:
    """Oldest first; none where there is no such file. Raises msgspec.DecodeError: it is damaged. OSError."""
    try:
        return msgspec.json.decode(place.read_bytes(), type=list[Kept])
    except FileNotFoundError:
        return []
