"""What a page consists of, whether it shows one run or several."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

Trace = dict[str, Any]
"""One of Plotly's traces."""


@dataclass(frozen=True)
class Tile:
    """A figure to be read from afar."""

    label: str
    value: str
    detail: str = ""


@dataclass(frozen=True)
class Chart:
    """A Plotly figure over frames. `minutes` has what each trace has instead over minutes; None: there is no
    such choice."""

    id: str
    title: str
    note: str
    data: Sequence[Trace]
    minutes: Sequence[Trace] | None
    layout: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Table:
    """A few rows of text."""

    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    note: str = ""


@dataclass(frozen=True)
class Episodes:
    """The columns of the episodes' table; None is what the replay does not say."""

    columns: dict[str, list[Any]]
    films: dict[int, str]
    """Episode -> name of a film below videos/."""
    command: str
    """Shows an episode, whose number goes behind it."""
    note: str = ""


@dataclass(frozen=True)
class Page:
    """Everything but the episodes."""

    title: str
    state: str
    """One line below the title: running or over, and when the last word was."""
    tiles: Sequence[Tile]
    charts: Sequence[Chart]
    tables: Sequence[Table]
    commands: Sequence[tuple[str, str]] = ()
    """(what for, command)"""
    films: Mapping[str, str] = field(default_factory=dict)
    """Name below videos/ -> what it shows."""
    problems: Sequence[str] = ()
    """What is missing or damaged, in words."""
