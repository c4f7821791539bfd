"""What the loop knows of an algorithm: how it learns, where its batches come from, and how it is paced."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, Protocol, runtime_checkable

from torch import Tensor

from actor.policy.contract import BasePolicy
from learner.algorithms.finite import NonFinite
from learner.replay.dataset.keep import Keep
from learner.replay.memory.contract import Memory
from protocol.arrays import Columns
from protocol.messages import Behaviour

Figures = dict[str, Callable[[], Tensor]]
"""What to show of an update, each computed when somebody looks; tensors without gradient."""


class Stateful(Protocol):
    """A part of training that another process can resume."""

    def state(self) -> Any:
        """Tensors, numbers, strings, and lists and dictionaries of them."""

    def load_state(self, state: Any) -> None:
        """Continue from what `state` returned. Raises ValueError if it belongs to something else."""


class BaseWeights(NamedTuple):
    """A trained base. Nobody changes the tensors any more."""

    weights: Mapping[str, Tensor]
    """What `BasePolicy.with_weights` takes."""
    save: Callable[[Path], None]
    """Writes these weights as a base of its own into a folder that is missing or empty."""


class Algorithm(Stateful, Protocol):
    """Networks and one update."""

    @property
    def updates(self) -> int:
        """Made so far."""
        ...

    def update(self, batch: Any) -> Figures:
        """Learn from one batch of its `BatchSource`; returns the figures of this update.

        It and all later ones change no weight if a loss or a gradient is not finite: see `first_skipped`."""
        ...

    def first_skipped(self) -> NonFinite | None:
        """The first step that was skipped because it was not finite, if any was; on a GPU this waits."""
        ...

    def published(self) -> Mapping[str, Tensor]:
        """Weights of the residual for the actors; empty: they play the base alone."""
        ...

    def base(self) -> BaseWeights | None:
        """A base that is newer than the one of the last call and is to be published, or None."""
        ...

    def networks(self) -> dict[str, Any]:
        """What `newest.safetensors` holds for other tools; empty: there is no such file."""
        ...


class BatchSource(Stateful, Protocol):
    """Draws what the updates learn from; its state is that of the random draws."""

    def next(self) -> Any: ...

    def drawn(self, later: int) -> Any:
        """The batch after which `later` more were drawn, as `Training.explain` wants it."""

    def figures(self) -> dict[str, float]:
        """For metrics.jsonl, once there are updates."""
        ...


class Goal(NamedTuple):
    """How far a run is."""

    done: int
    wanted: int
    unit: str
    """frames, episodes, successes or updates."""


class Schedule(Stateful, Protocol):
    """How much is learned for how much data, and when the run ends. Knows no clock."""

    decisions: int
    """Received."""
    updates: int
    """Made; the loop counts them up."""

    def resume(self, decisions: int, frames: int) -> None:
        """Continue after what earlier processes received, for which no update is due; before `load_state`."""
        ...

    def count(self, actor_id: str, columns: Columns) -> None:
        """Count one message of experience."""
        ...

    @property
    def updates_due(self) -> int:
        """Updates that should be made now."""
        ...

    @property
    def takes_data(self) -> bool:
        """False: messages wait, so that credit runs out and the actors wait too."""
        ...

    @property
    def waiting_for(self) -> str:
        """What the learner waits for, in words; empty: for nothing."""
        ...

    @property
    def finished(self) -> str | None:
        """Why no more data is wanted; updates that are still due are made. None: the run goes on."""
        ...

    @property
    def goal(self) -> Goal: ...

    def behaviour(self) -> Behaviour:
        """How actors act from now on."""
        ...

    def figures(self) -> dict[str, float]:
        """For metrics.jsonl."""
        ...


class Publications(Protocol):
    """When weights are published."""

    def due(self, now_s: float) -> bool: ...

    def published(self, version: int, now_s: float) -> None:
        """The weights that there are were published as this version."""
        ...


@dataclass(frozen=True)
class Training:
    """All that differs between algorithms; made by `learner/make.py` from the run's configuration."""

    algorithm: Algorithm
    batches: BatchSource
    schedule: Schedule
    memory: Memory
    """Where the rows that arrive are kept for the batches."""
    explain: Callable[[NonFinite, Any], str]
    """One line on a step that was not finite, and on its batch (`BatchSource.drawn`), and what to do. Called
    once journal and dataset are closed."""
    facts: Mapping[str, float | None] = field(default_factory=dict[str, float | None])
    """Figures that never change, for each point of metrics.jsonl."""
    publications: Publications | None = None
    """None: every learner.publish_every_s."""
    keep: Keep | None = None
    """Which episodes the dataset gets; None: all."""
    results: Callable[[], Mapping[str, Any]] = dict[str, Any]
    """What summary.json says beside the rest, at the end."""


@runtime_checkable
class MakesTraining(Protocol):
    """Settings of a package's own algorithm (`config/packages.py`), which make its parts."""

    def make_training(self, config: Any, base: BasePolicy) -> Training:
        """`config`: of the run, a `config.main.Config`."""
        ...
