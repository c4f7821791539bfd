"""What a page consists of, whether it shows one run or several."""

from collections.abc import Sequence
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
    """A Plotly figure. Its x is frames; `minutes` has another x for each trace, None: there is no other."""

    id: str
    title: str
    note: str
    data: Sequence[Trace]
    minutes: Sequence[Sequence[float]] | None
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
    films: Sequence[str] = ()
    problems: Sequence[str] = ()
    """What is missing or damaged, in words."""
