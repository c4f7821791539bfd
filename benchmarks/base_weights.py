"""What weights of a trained base cost the experience path: rows a second with bases published every so often,
and without.

Two processes over loopback, as in `benchmarks.wire`: an uplink that sends batches of decisions as fast as
credit allows, and a learner that receives, journals and drains them. With publications the learner serialises
and offers a base of `--mb`, new ones every `--every` seconds, and the uplink fetches, checks and takes each.
Sides in turn, medians over the rounds; by default about four minutes. Where others use the machine, look at
the processor time that a base costs.
"""

import logging
import statistics
import sys
import tempfile
import threading
import time
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np
import psutil
import torch

from actor.link.uplink import Uplink
from actor.malloc import keep_freed_memory
from benchmarks.command import make_parser, print_result
from benchmarks.wire import SPEC, SUB_ENVS, TIMEOUT_S, make_columns, make_wire, other_process
from config.compose import compose_config
from config.main import Config
from config.wire import WireConfig
from learner.broadcast import Broadcast
from learner.intake.intake import Intake
from learner.publications import Timed
from learner.replay.journal.journal import Journal
from protocol.arrays import Limits
from protocol.messages import BASE_ALONE

KEYS = {
    "ours_rows_per_s": "while bases are published, median over the rounds",
    "peer_rows_per_s": "without",
    "ratio": "ours / peer",
    "base_cpu_s": "processor time of both processes for a base, beyond that for the same rows without",
    "arrival_s": "from the publication of a base until the uplink has it, checked",
    "arrived": "bases that came in all rounds",
    "*_peak_mb": "memory of a process at its most, less that of its peer without bases",
    "mb": "of a base, 10^6 bytes",
    "every_s": "seconds between two bases",
    "rounds": "rows a second of each side, round by round",
}


class Measured(NamedTuple):
    """One side in one round."""

    rows_per_s: float
    rows: int
    cpu_s: float
    """Of both processes, while rows are sent."""
    arrival_s: list[float]
    learner_mb: float
    actor_mb: float


def learn(
    config: Config, wire: WireConfig, folder: str, megabytes: float, every_s: float, pipe: Connection
) -> None:
    """The receiving process; with `megabytes` above 0 it publishes bases."""
    limits = msgspec.convert(wire, Limits, from_attributes=True)
    journal = Journal(Path(folder), config.learner.journal, SPEC, limits)
    assert list(journal.replay()) == []
    intake = Intake(wire, SPEC, queue_rows=wire.credit_rows, journal=journal)
    intake.start()
    broadcast, publications = Broadcast(intake), Timed(every_s)
    base = {f"layer.{i}": torch.rand(round(megabytes * 1e6) // 40) for i in range(10)}
    published: list[tuple[int, float]] = []
    pipe.send("ready")
    rows, peak, started_s = 0, 0, time.process_time()
    while not pipe.poll():
        now_s = time.monotonic()
        if megabytes and publications.due(now_s):
            base["layer.0"] += 1
            broadcast.offer_base(base)
            published.append((broadcast.publish({}, BASE_ALONE, now_s=now_s).version, now_s))
            publications.published(*published[-1])
        if received := intake.drain(timeout_s=0.01):
            rows += sum(len(each.columns["frames"]) for each in received)
            who = received[-1].actor_id, received[-1].session
            journal.prune({(*who, sub_env): 1 for sub_env in range(SUB_ENVS)})
        peak = max(peak, psutil.Process().memory_info().rss)
    cpu_s = time.process_time() - started_s
    intake.close()
    journal.close()
    pipe.send((rows, cpu_s, published, peak / 1e6))


def measure(config: Config, megabytes: float, every_s: float, seconds: float, scratch: Path) -> Measured:
    """One side: from the first send until the last row is durable."""
    columns, wire = make_columns(256, np.random.default_rng(0)), make_wire(config, None)
    arrived: list[tuple[int, float]] = []
    sent, peak = 0, 0
    with (
        tempfile.TemporaryDirectory(dir=scratch) as folder,
        other_process(learn, config, wire, folder, megabytes, every_s) as pipe,
    ):
        uplink = Uplink(
            wire, actor_id="actor-0", role="actor", spec=SPEC, stop=threading.Event(),
            most_base_bytes=round(2 * megabytes * 1e6),
        )  # fmt: skip
        uplink.connect()
        started_s, cpu_s = time.monotonic(), time.process_time()
        while time.monotonic() - started_s < seconds:
            uplink.send(columns)
            sent += len(columns["frames"])
            weights = uplink.newest_weights()
            if weights is not None and weights.base is not None and uplink.take_base() is not None:
                arrived.append((weights.base.version, time.monotonic()))
                uplink.confirm_base()
            peak = max(peak, psutil.Process().memory_info().rss)
        assert uplink.flush(TIMEOUT_S)
        wall_s, cpu_s = time.monotonic() - started_s, time.process_time() - cpu_s
        uplink.close()
        pipe.send("stop")
        received, learner_s, published, learner_mb = pipe.recv()
        assert received == sent
    published_s = dict(published)
    arrival_s = [at_s - published_s[version] for version, at_s in arrived]
    return Measured(sent / wall_s, sent, cpu_s + learner_s, arrival_s, learner_mb, peak / 1e6)


def run(megabytes: float, every_s: float, rounds: int, scratch: Path) -> dict[str, Any]:
    """Both sides in turn."""
    config = compose_config([])
    ours, peer = list[Measured](), list[Measured]()
    for _ in range(rounds):
        peer.append(measure(config, 0.0, every_s, every_s, scratch))
        ours.append(measure(config, megabytes, every_s, every_s, scratch))
    arrivals = [each for one in ours for each in one.arrival_s]
    per_row_s = statistics.median(one.cpu_s / one.rows for one in peer)
    extra_s = sum(one.cpu_s - one.rows * per_row_s for one in ours)
    rates = [statistics.median(one.rows_per_s for one in side) for side in (ours, peer)]
    return {
        "ours_rows_per_s": round(rates[0]),
        "peer_rows_per_s": round(rates[1]),
        "ratio": round(rates[0] / rates[1], 3),
        "base_cpu_s": round(extra_s / max(1, len(arrivals)), 2),
        "arrival_s": round(statistics.median(arrivals), 2) if arrivals else None,
        "arrived": len(arrivals),
        "learner_peak_mb": round(max(o.learner_mb - p.learner_mb for o, p in zip(ours, peer, strict=True))),
        "actor_peak_mb": round(max(o.actor_mb - p.actor_mb for o, p in zip(ours, peer, strict=True))),
        "mb": megabytes,
        "every_s": every_s,
        "rounds": {
            "ours": [round(one.rows_per_s) for one in ours],
            "peer": [round(one.rows_per_s) for one in peer],
        },
    }


def main(argv: list[str]) -> None:
    parser = make_parser("benchmarks.base_weights", __doc__, KEYS)
    parser.add_argument("--mb", type=float, default=300.0, help="of a base; %(default)s by default")
    parser.add_argument(
        "--every", type=float, default=60.0, help="seconds between two bases; %(default)s by default"
    )
    parser.add_argument("--rounds", type=int, default=2, help="%(default)s by default")
    parser.add_argument("--scratch", type=Path, default=Path("."), help="on the journal's disk")
    options = parser.parse_args(argv)
    logging.basicConfig(level=logging.WARNING)
    keep_freed_memory()  # as an actor does
    with tempfile.TemporaryDirectory(dir=options.scratch, prefix=".base-") as scratch:
        result = run(options.mb, options.every, options.rounds, Path(scratch))
    print_result(result, KEYS)


if __name__ == "__main__":
    main(sys.argv[1:])
