"""What a monitor shows at one moment."""

from typing import Literal

import msgspec

from learner.intervals import wilson_interval

State = Literal["starting", "running", "over", "not running"]


class Measured(msgspec.Struct, frozen=True):
    """One evaluation: its success with the 95 % interval (Wilson), None where the episodes are not known.
    `frames`: after how many the evaluated weights were published."""

    success: float
    low: float | None
    high: float | None
    episodes: int
    frames: int
    version: int | None

    @classmethod
    def of(cls, success: float, episodes: int, frames: int, version: int | None) -> "Measured":
        low, high = wilson_interval(success, episodes) if episodes > 0 else (None, None)
        return cls(success, low, high, episodes, frames, version)


class Goal(msgspec.Struct, frozen=True):
    """How far a run is: `done` of `wanted` frames, episodes, successes or updates."""

    done: float
    wanted: float
    unit: str


class Actor(msgspec.Struct, frozen=True):
    """One actor, as the learner's status.json has it: figures on the wire are floats, counts too."""

    name: str
    host: str | None = None
    sub_envs: float | None = None
    frames: float | None = None
    frames_per_s: float | None = None
    lag_versions: float | None = None
    last_heard_s: float | None = None
    alive: bool = True


class Settings(msgspec.Struct, frozen=True):
    """What the monitor needs of a run's configuration; of an older release too."""

    class Task(msgspec.Struct, frozen=True):
        env_id: str | None = None

    class Algo(msgspec.Struct, frozen=True):
        name: str | None = None

    class Learner(msgspec.Struct, frozen=True):
        total_frames: int | None = None
        log_every_s: float | None = None

    seed: int | None = None
    task: Task = Task()
    algo: Algo = Algo()
    learner: Learner = Learner()


class Snapshot(msgspec.Struct, frozen=True):
    """A run at one moment. None, or nothing, where it was not measured."""

    run: str
    folder: str
    state: State
    task: str | None
    algo: str | None
    seed: int | None
    total_frames: int | None
    goal: Goal | None
    """None: the total is not known."""
    figures: dict[str, float]
    """The newest value of each number in metrics.jsonl, without those of evaluations."""
    base: Measured | None
    full: tuple[Measured, ...]
    """All evaluations of base and residual, oldest first."""
    behaviour: tuple[tuple[int, float], ...]
    """(frames, success of the last training episodes)"""
    left_s: float | None
    """Seconds until the goal is reached, at the run's mean speed."""
    waiting: str | None
    """Who waits for whom."""
    silent_s: float | None
    """Seconds since the learner wrote its last figures."""
    actors: tuple[Actor, ...] | None
    free_mb: float | None
    warnings: tuple[str, ...]
    page: str | None
    """The address of the run's page."""
    logs: dict[str, tuple[str, ...]]
    """Process -> its last lines."""
    summary: dict[str, str] | None
    """The final figures of a run that is over, and where its results are, as people read them."""
