"""How many actors one learner carries: 1, 4, 16 and 64 of them, at two rates, against one learner process.

Simulated actors are processes that send recorded rows of the default task at a fixed rate, in messages as
large as a run's: 80 rows a second is what a CPU actor of 6 simulators sends, 800 what one with a GPU could.
They wait for credit as real ones do. The learner's process does what a run does with rows (journal, acks,
memory, LeRobot dataset), makes updates of the default recipe all the time and publishes weights. All of them
share this machine: a learner with processors of its own carries more. About four minutes.
"""

import json
import logging
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np

from actor.policy.contract import BasePolicy
from actor.policy.make import make_base
from actor.policy.spec import experience_spec
from benchmarks.command import make_parser, print_result
from benchmarks.scale_actor import Order, Seen
from benchmarks.scale_learner import LearnerSeen, learn
from benchmarks.wire import free_ports, other_process
from config.compose import compose_config
from config.main import Config

KEYS = {
    "cells": "one for each number of actors and rate, with the keys below that are not of the whole",
    "actors": "simulated actors",
    "offered_rows_per_s": "that all of them would send without waiting for credit",
    "rows_per_s": "taken into journal, memory and dataset",
    "taken_share": "rows_per_s / offered_rows_per_s",
    "ack_ms_*": "from handing a message to the link until it is on the learner's disk, of all messages",
    "fairness": "Jain's index of the rows of each actor: 1 if all are equal, 1 / actors if one has all",
    "fan_out_ms_*": "from a publication of weights until the last actor has them",
    "updates_per_s": "while that goes on",
    "updates_kept": "updates_per_s / updates_alone_per_s",
    "updates_alone_per_s": "without an actor",
    "other_threads_us_per_row": "processor time of intake, journal and dataset for a row",
    "learner_kb_per_actor": "memory of the learner for a connected actor that has sent nothing",
    "actor_mb": "memory of a simulated actor: what the link needs, no simulator and no network",
    "ours_rows_per_s": "rows_per_s of the most actors at the highest rate",
    "ceiling_rows_per_s": "offered there",
    "ceiling_ratio": "ours / ceiling",
    "seconds": "of a cell",
}
_TIMEOUT_S = 120.0


class Cell(NamedTuple):
    """What is measured in one go."""

    actors: int
    rows_per_s: float
    """Of each actor."""


class Crowd:
    """Simulated actors in processes of their own."""

    def __init__(self, config: Config, cell: Cell, base: BasePolicy) -> None:
        self._processes = [
            subprocess.Popen(
                [sys.executable, "-m", "benchmarks.scale_actor", _order(config, cell, base, index)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )  # fmt: skip
            for index in range(cell.actors)
        ]

    def hear(self) -> list[str]:
        """A line of each. Raises RuntimeError: one of them ended."""
        lines = [process.stdout.readline() for process in self._processes if process.stdout]
        if not all(lines):
            raise RuntimeError("a simulated actor ended early: its error is above")
        return lines

    def tell(self) -> None:
        """Begin, then end."""
        for process in self._processes:
            assert process.stdin is not None
            process.stdin.write("\n")
            process.stdin.flush()

    def end(self) -> None:
        for process in self._processes:
            process.kill()
            process.communicate(timeout=_TIMEOUT_S)


def _order(config: Config, cell: Cell, base: BasePolicy, index: int) -> str:
    order = Order(
        wire=config.wire,
        spec=experience_spec(config, base),
        index=index,
        rows_per_s=cell.rows_per_s,
        rows_per_message=config.actor.rows_per_batch,
        sub_envs=config.actor.num_envs,
    )
    return msgspec.json.encode(order).decode()


def measure(cell: Cell, seconds: float, scratch: Path) -> dict[str, Any]:
    """One cell, with a learner and a folder of its own."""
    experience, weights = free_ports(2)
    overrides = [f"wire.experience_port={experience}", f"wire.weights_port={weights}"]
    config = compose_config([f"runs_dir={scratch}", f"name={cell.actors}-{cell.rows_per_s:.0f}", *overrides])
    base = make_base(config.base, config.task, "cpu")
    with other_process(learn, config) as learner:
        time.sleep(seconds / 2)
        learner.send("alone")
        alone = learner.recv()
        crowd = Crowd(config, cell, base)
        try:
            crowd.hear()  # all are connected
            learner.send("connected")
            learner_bytes = learner.recv()
            crowd.tell()
            time.sleep(seconds)
            learner.send("seen")
            seen = learner.recv()
            crowd.tell()
            actors = [msgspec.json.decode(line, type=Seen) for line in crowd.hear()]
        finally:
            crowd.end()
    return summarise(cell, alone, seen, actors, learner_bytes)


def summarise(
    cell: Cell, alone: LearnerSeen, seen: LearnerSeen, actors: list[Seen], learner_bytes: int
) -> dict[str, Any]:
    rows, offered = sum(seen.rows.values()), cell.actors * cell.rows_per_s
    ack_s = [each for actor in actors for each in actor.ack_s]
    arrived = [
        max(actor.adopted_s.get(version, float("nan")) for actor in actors) - at_s
        for version, at_s in seen.published_s.items()
        if all(version in actor.adopted_s for actor in actors)
    ]
    updates, updates_alone = seen.updates / seen.seconds, alone.updates / alone.seconds
    shares = np.array([seen.rows.get(f"actor-{index}", 0) for index in range(cell.actors)], float)
    return {
        "actors": cell.actors,
        "offered_rows_per_s": round(offered),
        "rows_per_s": round(rows / seen.seconds),
        "taken_share": round(rows / seen.seconds / offered, 3),
        "ack_ms_median": _ms(ack_s, 50),
        "ack_ms_99": _ms(ack_s, 99),
        "fairness": round(float(shares.sum() ** 2 / (len(shares) * (shares**2).sum())), 4),
        "fan_out_ms_median": _ms(arrived, 50),
        "fan_out_ms_most": _ms(arrived, 100),
        "updates_alone_per_s": round(updates_alone),
        "updates_per_s": round(updates),
        "updates_kept": round(updates / updates_alone, 3),
        "other_threads_us_per_row": round(seen.other_threads_s / rows * 1e6, 1),
        "learner_kb_per_actor": round(learner_bytes / cell.actors / 1e3),
        "actor_mb": round(statistics.median(actor.rss_mb for actor in actors)),
    }


def _ms(seconds: list[float], percent: float) -> float | None:
    return round(float(np.percentile(seconds, percent)) * 1e3, 1) if seconds else None


def main(argv: list[str]) -> None:
    parser = make_parser("benchmarks.scale", __doc__, KEYS)
    parser.add_argument(
        "--actors", type=int, nargs="+", default=[1, 4, 16, 64], help="%(default)s by default"
    )
    parser.add_argument(
        "--rates", type=float, nargs="+", default=[80.0, 800.0],
        help="rows a second of each actor; %(default)s by default",
    )  # fmt: skip
    parser.add_argument("--seconds", type=float, default=15.0, help="of a cell; %(default)s by default")
    parser.add_argument("--scratch", type=Path, default=Path("."), help="on the journal's disk")
    options = parser.parse_args(argv)
    logging.basicConfig(level=logging.WARNING)
    cells = []
    with tempfile.TemporaryDirectory(dir=options.scratch, prefix=".scale-") as scratch:
        for rate in options.rates:
            for actors in options.actors:
                cells.append(measure(Cell(actors, rate), options.seconds, Path(scratch)))
                sys.stdout.write(json.dumps(cells[-1]) + "\n")
                sys.stdout.flush()
    print_result(
        {
            "cells": cells,
            "ours_rows_per_s": cells[-1]["rows_per_s"],
            "ceiling_rows_per_s": cells[-1]["offered_rows_per_s"],
            "ceiling_ratio": cells[-1]["taken_share"],
            "seconds": options.seconds,
        },
        KEYS,
    )


if __name__ == "__main__":
    main(sys.argv[1:])
