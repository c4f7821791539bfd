"""Reads demonstrations, for everything that uses them: one way in, with one set of checks.

A source is a ManiSkill trajectory file, or a LeRobot dataset: a folder, such as a run's replay, or an id of
the hub. Every episode is looked at before any is used.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from learner.replay.dataset.format.spec import DatasetError
from learner.replay.dataset.read import open_snapshot
from learner.replay.prior.dataset import read_dataset
from learner.replay.prior.demonstration import Demonstration, require_usable
from learner.replay.prior.error import DemonstrationError
from learner.replay.prior.maniskill import read_trajectories
from learner.replay.prior.origin import Origin, origin_of_dataset, origin_of_file, require_same_task
from learner.replay.prior.recording import Recording
from learner.replay.prior.source import find_source
from learner.replay.prior.success import settle_success

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Wanted:
    """What demonstrations must be for a caller."""

    env_id: str | None = None
    """None: of any task, as with the others."""
    control_mode: str | None = None
    fps: int | None = None
    """Of a LeRobot dataset."""
    observation: Sequence[str] | None = None
    """Features of a LeRobot dataset that make up an observation, see `read_dataset`."""
    limit: int | None = None
    """Most episodes."""
    last_frame_succeeds: bool = False
    """Of an episode of a source that does not say which frames were successful."""
    other_tasks: bool = False
    """Take demonstrations that name another task or control mode too."""
    success_allowed_by: str = "demos_without_success=last_frame"
    """The setting that makes `last_frame_succeeds` true, for a refusal to name."""
    tasks_allowed_by: str = "demos_of_other_tasks=accept"
    """The same of `other_tasks`."""


@dataclass(frozen=True)
class Demonstrations:
    """All episodes of one source, and where they come from."""

    episodes: list[Demonstration]
    origin: Origin


ANY = Wanted()
ROUNDING = 1e-3
"""Beyond the limits of an action."""


def read_demonstrations(source: str | Path, wanted: Wanted = ANY) -> Demonstrations:
    """Read one source.
    Raises DemonstrationError: it is not there, not readable, or not what is `wanted`; in one line that names
    what is wrong, where, and what to do."""
    source = str(source)
    recordings, origin = _read(source, wanted)
    if not wanted.other_tasks:
        require_same_task(
            origin,
            wanted.env_id,
            wanted.control_mode,
            source=source,
            allowed_by=wanted.tasks_allowed_by,
        )
    recordings = recordings[: wanted.limit]
    success = settle_success(
        recordings,
        source,
        or_last_frame=wanted.last_frame_succeeds,
        allowed_by=wanted.success_allowed_by,
    )
    episodes = [
        Demonstration(one.observations, one.actions, marked, one.executed, one.base_actions)
        for one, marked in zip(recordings, success, strict=True)
    ]
    require_usable(episodes, source)
    _warn_of_doubtful(episodes, source)
    return Demonstrations(episodes, origin)


def _warn_of_doubtful(episodes: Sequence[Demonstration], source: str) -> None:
    """Of what can be meant, and is more often a mistake."""
    if not any(episode.success.any() for episode in episodes):
        log.warning("%s: none of its %d episodes is successful", source, len(episodes))
    largest = max(float(np.abs(episode.taken).max()) for episode in episodes)
    if largest > 1 + ROUNDING:
        log.warning(
            "%s: actions are as large as %.3g, delta control modes execute -1 to 1: are they of another "
            "control mode, or in other units?", source, largest,
        )  # fmt: skip


def _read(source: str, wanted: Wanted) -> tuple[list[Recording], Origin]:
    place = find_source(source)
    if place is not None and place.is_file():
        return read_trajectories(place, wanted.limit), origin_of_file(place)
    if place is None:
        from learner.replay.prior.lerobot import downloaded  # importing lerobot takes seconds

        place = downloaded(source)
    try:
        with open_snapshot(place) as view:
            recordings = read_dataset(view, source, wanted.observation, wanted.fps)
            return recordings, origin_of_dataset(place, view)
    except DatasetError as error:
        raise DemonstrationError(str(error)) from error
