"""Millions of small rows from an actor to a learner; resident memory of both stays flat.

    python -m tests.system.soak [--rows 2000000]

Prints one JSON object; ends with 1 if either side grew by over 5 % after the first tenth, or a row is lost.
"""

import argparse
import json
import multiprocessing
import sys
import tempfile
import threading
import time
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import msgspec

from actor.link.uplink import Uplink
from config.learner import JournalConfig
from config.wire import WireConfig
from learner.intake.intake import Intake
from learner.replay.journal.journal import Journal
from protocol.arrays import Limits
from tests.support.identifiable import make_episode, pack
from tests.support.spec import SPEC
from tests.system.chaos import make_settings

ROWS_PER_BATCH = 64
FRAMES_PER_EPISODE = 4 * ROWS_PER_BATCH
REPORT_EVERY = 200_000
LARGEST_GROWTH = 1.05
TIMEOUT_S = 180.0


def resident_kb() -> int:
    """Of this process."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS"))


def learn(settings: dict[str, Any], pipe: Connection) -> None:
    """Drain everything, call it committed, say how large this process is whenever asked."""
    wire = msgspec.convert(settings["wire"], WireConfig)
    limits = msgspec.convert(wire, Limits, from_attributes=True)
    journal_settings = msgspec.convert(settings["journal"], JournalConfig)
    journal = Journal(Path(settings["folder"]) / "journal", journal_settings, SPEC, limits)
    assert list(journal.replay()) == []
    intake = Intake(wire, SPEC, queue_rows=wire.credit_rows, journal=journal)
    intake.start()
    pipe.send("ready")
    rows, said, committed = 0, 0, {}
    pruned_s = time.monotonic()
    while True:
        for received in intake.drain(timeout_s=0.05):
            rows += len(received.columns["frames"])
            committed[received.actor_id, received.session, 0] = int(received.columns["episode"][-1]) + 1
        if time.monotonic() - pruned_s > 0.5:
            pruned_s = time.monotonic()
            journal.prune(committed)
        if pipe.poll() and pipe.recv() == "stop":
            break
        if rows // REPORT_EVERY > said:
            said = rows // REPORT_EVERY
            pipe.send(("rows", rows, resident_kb()))
    intake.close()
    journal.close()
    pipe.send(("end", rows, resident_kb()))


def run(rows: int, folder: Path) -> dict[str, Any]:
    """All rows, and both sides' memory along the way."""
    settings = make_settings(folder, "127.0.0.1")
    settings["wire"] |= {"credit_rows": 4096, "heartbeat_s": 0.5, "lease_s": 5.0}
    settings["journal"] |= {"segment_bytes": 1 << 24, "pending_bytes": 1 << 25}
    wire = msgspec.convert(settings["wire"], WireConfig)
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    learner = context.Process(target=learn, args=(settings, theirs), daemon=True)
    learner.start()
    assert ours.recv() == "ready"
    uplink = Uplink(wire, actor_id="actor-0", role="actor", spec=SPEC, stop=threading.Event())
    uplink.connect()
    started_s = time.perf_counter()
    sizes: list[int] = []
    for number in range(rows // ROWS_PER_BATCH):
        columns = pack(make_episode(number % 100, "actor-0", 0, number, FRAMES_PER_EPISODE).rows)
        uplink.send(columns)
        if (number + 1) % (REPORT_EVERY // ROWS_PER_BATCH) == 0:
            sizes.append(resident_kb())
    assert uplink.flush(TIMEOUT_S)
    wall_s = time.perf_counter() - started_s
    uplink.close()
    ours.send("stop")
    reports: list[tuple[str, int, int]] = []
    while not reports or reports[-1][0] != "end":
        reports.append(ours.recv())
    learner.join(TIMEOUT_S)
    learner_sizes = [size for _, _, size in reports]
    growth = [sizes[-1] / sizes[0], learner_sizes[-1] / learner_sizes[0]]
    broken = [] if max(growth) <= LARGEST_GROWTH else [f"grew by factors of {growth}"]
    received = reports[-1][1]
    if received != rows // ROWS_PER_BATCH * ROWS_PER_BATCH:
        broken.append(f"{received} rows arrived")
    return {
        "rows": received, "wall_s": round(wall_s, 1),
        "actor_rss_mb": [round(size / 1e3, 1) for size in sizes],
        "learner_rss_mb": [round(size / 1e3, 1) for size in learner_sizes],
        "actor_growth": round(growth[0], 4), "learner_growth": round(growth[1], 4), "broken": broken,
    }  # fmt: skip


def main(words: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.system.soak")
    parser.add_argument("--rows", type=int, default=2_000_000)
    options = parser.parse_args(words)
    with tempfile.TemporaryDirectory() as folder:
        result = run(options.rows, Path(folder))
    sys.stdout.write(json.dumps(result) + "\n")
    return 1 if result["broken"] else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
