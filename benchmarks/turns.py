"""Sides that take turns, and their medians beside one another."""

import statistics
import time
from collections.abc import Callable, Mapping
from typing import NamedTuple


class Cost(NamedTuple):
    """What one side did."""

    per_s: float
    """Things in a second of wall time."""
    cpu_ms: float
    """Processor time of all threads for one of them."""


def timed(count: int, work: Callable[[], object]) -> Cost:
    """Of `count` things that one call of `work` makes."""
    began_s, cpu_s = time.perf_counter(), time.process_time()
    work()
    wall_s, cpu_s = time.perf_counter() - began_s, time.process_time() - cpu_s
    return Cost(count / wall_s, 1e3 * cpu_s / count)


def repeated(count: int, work: Callable[[], object]) -> Cost:
    """Of `count` calls of `work`; what each returns is freed at once."""

    def calls() -> None:
        for _ in range(count):
            work()

    return timed(count, calls)


def in_turns(sides: Mapping[str, Callable[[], Cost]], rounds: int) -> dict[str, Cost]:
    """Median of each side; in every round all of them have their turn, so that they meet the same neighbours
    on the machine."""
    seen: dict[str, list[Cost]] = {name: [] for name in sides}
    for _ in range(rounds):
        for name, measure in sides.items():
            seen[name].append(measure())
    return {name: Cost(*map(statistics.median, zip(*each, strict=True))) for name, each in seen.items()}


def beside(costs: Mapping[str, Cost], one: str, many: str) -> dict[str, float]:
    """Figures of each side, and ratios of the sides `ours`, `peer` and `ceiling`, where they exist.

    Args:
        one, many: what was made, for the names of the figures, such as frame and frames.
    """
    figures = {f"{side}_{many}_per_s": _short(cost.per_s) for side, cost in costs.items()}
    figures |= {f"{side}_cpu_ms_per_{one}": _short(cost.cpu_ms) for side, cost in costs.items()}
    ours = costs["ours"]
    for side, name in (("peer", "ratio"), ("ceiling", "ceiling_ratio")):
        if side in costs:
            figures[name] = round(ours.per_s / costs[side].per_s, 3)
            figures[f"{name}_cpu"] = round(costs[side].cpu_ms / ours.cpu_ms, 3)
    return figures


def _short(value: float) -> float:
    """Four digits, or all before the point."""
    return round(value) if value >= 1000 else float(f"{value:.4g}")
