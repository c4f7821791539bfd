"""The table of rounds: rounds.json for programs, rounds.md and a text for people."""

import json
from collections.abc import Sequence
from pathlib import Path

import msgspec

from config.files import replace_text

_HEADER = (
    "round", "base alone", "with residual", "new base alone", "frames of RL", "frames collected", "minutes",
)  # fmt: skip


class Rate(msgspec.Struct, frozen=True):
    """A measured success rate with its 95 % interval."""

    success: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{100 * self.success:.0f} % ({100 * self.low:.0f} to {100 * self.high:.0f})"


class Round(msgspec.Struct, frozen=True):
    """One round that is over."""

    number: int
    base: str
    """That it began with."""
    base_alone: Rate
    with_residual: float | None
    """Of the run's final evaluation, on the seeds of learner.evaluation."""
    new_base: str
    new_base_alone: Rate
    frames: int
    collected_frames: int
    minutes: dict[str, float]
    """Of each step."""

    def cells(self) -> tuple[str, ...]:
        with_residual = "not measured" if self.with_residual is None else f"{100 * self.with_residual:.0f} %"
        return (
            f"{self.number}", f"{self.base_alone}", with_residual, f"{self.new_base_alone}",
            f"{self.frames:,}", f"{self.collected_frames:,}", f"{sum(self.minutes.values()):.0f}",
        )  # fmt: skip


class Rounds(msgspec.Struct, frozen=True):
    """rounds.json"""

    task: str
    target: float
    episodes: int
    first_seed: int
    best_base: str
    best: Rate
    rounds: list[Round]


def write_table(folder: Path, table: Rounds) -> None:
    """Replace both files."""
    replace_text(folder / "rounds.json", json.dumps(msgspec.to_builtins(table), indent=1) + "\n")
    rows = [_HEADER, ("---",) * len(_HEADER), *(each.cells() for each in table.rounds)]
    lines = [f"| {' | '.join(cells)} |" for cells in rows]
    seeds = f"{table.first_seed} to {table.first_seed + table.episodes - 1}"
    about = f"{table.task}, bases alone over {table.episodes} episodes, seeds {seeds}; 95 % intervals."
    best = f"Best base: `{table.best_base}`, {table.best}."
    replace_text(folder / "rounds.md", "\n".join([about, "", *lines, "", best]) + "\n")


def as_text(rounds: Sequence[Round]) -> list[str]:
    """Lines of a table with columns of equal width."""
    rows = [_HEADER, *(each.cells() for each in rounds)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]
