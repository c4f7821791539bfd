"""How fast real messages become durable, beside what the socket and the disk alone can do.

Two processes over loopback: an uplink that sends batches of decisions of the default task, and an intake
with a journal whose rows are drained, and then count as in the dataset: so segments go as in a run. Ceilings
of the same run: bare pyzmq with the same frames, and sequential writes of the same bytes with a sync for
every `journal.sync_bytes`, behind or over what is there, through the page cache or past it: the fastest of
these four is what the disk can do. All sides in turn, medians over the rounds, about a minute. Where
others use the machine, look at the processor time: of both processes for one batch.
"""

import functools
import logging
import mmap
import multiprocessing
import os
import socket
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np
import zmq

from actor.link.uplink import Uplink
from actor.malloc import keep_freed_memory
from benchmarks.command import make_parser, print_result
from config.compose import compose_config
from config.learner import JournalConfig
from config.main import Config
from config.wire import WireConfig
from launch.make_keys import make_keys
from learner.intake.intake import Intake
from learner.replay.journal.file import BLOCK_BYTES, BUFFER_BYTES
from learner.replay.journal.journal import Journal
from protocol.arrays import Columns, Limits
from protocol.codec import encode
from protocol.experience import FINAL_IMAGE_PREFIX, IMAGE_PREFIX, ExperienceSpec, zeros
from protocol.messages import Experience

SPEC = ExperienceSpec(
    env_id="PickCube-v1", control_mode="pd_ee_delta_pose", observation_dim=42, action_dim=7, act_horizon=4,
    residual_every=4, base_fingerprint="benchmark", residual_scale=0.1, policy="none",
)  # fmt: skip
SUB_ENVS = 16
TIMEOUT_S = 60.0


def make_columns(rows: int, rng: np.random.Generator, spec: ExperienceSpec = SPEC) -> Columns:
    """One batch as an actor of SUB_ENVS simulators sends it, one ended episode in it."""
    columns = zeros(spec, rows, ends=1)
    for name in ("observation", "action", "base_plan", "residual"):
        columns[name] = rng.standard_normal(columns[name].shape, np.float32)
    for name in (prefix + camera for camera in spec.cameras for prefix in (IMAGE_PREFIX, FINAL_IMAGE_PREFIX)):
        columns[name] = rng.integers(0, 256, columns[name].shape, np.uint8)
    columns["frames"][:] = spec.residual_every
    columns["sub_env"][:] = np.arange(rows) % SUB_ENVS
    columns["decision"][:] = np.arange(rows)
    columns["truncated"][-1], columns["final_row"][:] = True, rows - 1
    return columns


def learn(config: Config, wire: WireConfig, spec: ExperienceSpec, folder: str, pipe: Connection) -> None:
    """The receiving process: everything that happens before rows are used."""
    limits = msgspec.convert(wire, Limits, from_attributes=True)
    journal = Journal(Path(folder), config.learner.journal, spec, limits)
    assert list(journal.replay()) == []
    intake = Intake(wire, spec, queue_rows=wire.credit_rows, journal=journal)
    intake.start()
    pipe.send("ready")
    started_s = time.process_time()
    rows = 0
    while not pipe.poll():
        time.sleep(0.002)
        if received := intake.drain(timeout_s=0.05):
            rows += sum(len(each.columns["frames"]) for each in received)
            who = received[-1].actor_id, received[-1].session
            # As if they were in the dataset now.
            journal.prune({(*who, sub_env): 1 for sub_env in range(SUB_ENVS)})
    intake.close()
    journal.close()
    pipe.send((rows, time.process_time() - started_s))


def receive_bare(port: int, pipe: Connection) -> None:
    """The receiving process of the socket's ceiling."""
    context = zmq.Context()
    router = context.socket(zmq.ROUTER)
    router.bind(f"tcp://127.0.0.1:{port}")
    pipe.send("ready")
    started_s = time.process_time()
    while True:
        identity, *frames = router.recv_multipart()
        if len(frames) == 1:  # asks whether all before has arrived
            router.send_multipart([identity, b"yes"])
            break
    pipe.send(time.process_time() - started_s)
    context.destroy(linger=1000)


class Way(NamedTuple):
    """How bytes come to the disk."""

    direct: bool
    """Past the page cache."""
    over: bool
    """Over those of an existing file, from its beginning again and again; else behind them."""


WAYS = {
    "append_cached": Way(direct=False, over=False),
    "append_direct": Way(direct=True, over=False),
    "overwrite_cached": Way(direct=False, over=True),
    "overwrite_direct": Way(direct=True, over=True),
}
KEYS = {
    "*_rows_per_s": "of ours, ours_curve (encrypted), socket, and each way to write; medians over the rounds",
    "*_mb_per_s": "the same in 10^6 bytes",
    "*_cpu_us_per_batch": "processor time of both processes for a batch",
    "rows_per_batch": "as asked for",
    "bytes_per_row": "on the wire",
    "ceiling": "socket or disk, whichever is slower",
    "ceiling_ratio": "ours / ceiling",
    "ceiling_ratio_curve": "ours_curve / ceiling",
    "ratio_to_disk": "ours / the fastest way to write",
    "ratio_to_socket": "ours / socket",
    "rounds": "rows a second of each side, round by round",
}
# This much is overwritten: the segments that the journal uses in turn.
WRAP_BYTES = 1 << 28


class Rate(NamedTuple):
    """What one side did."""

    rows_per_s: float
    cpu_s_per_row: float
    """Of all its processes."""


def measure_ours(
    config: Config,
    wire: WireConfig,
    rows: int,
    seconds: float,
    scratch: Path,
    *,
    spec: ExperienceSpec = SPEC,
) -> Rate:
    """From the first send until the last row is durable."""
    columns = make_columns(rows, np.random.default_rng(0), spec)
    with (
        tempfile.TemporaryDirectory(dir=scratch) as folder,
        other_process(learn, config, wire, spec, folder) as pipe,
    ):
        uplink = Uplink(wire, actor_id="actor-0", role="actor", spec=spec, stop=threading.Event())
        uplink.connect()
        started_s, cpu_s = time.perf_counter(), time.process_time()
        sent = 0
        while time.perf_counter() - started_s < seconds:
            uplink.send(columns)
            sent += rows
        assert uplink.flush(TIMEOUT_S)
        wall_s, cpu_s = time.perf_counter() - started_s, time.process_time() - cpu_s
        uplink.close()
        pipe.send("stop")
        received, their_cpu_s = pipe.recv()
        assert received == sent
    return Rate(sent / wall_s, (cpu_s + their_cpu_s) / sent)


def measure_socket(frames: list[Any], rows: int, seconds: float) -> Rate:
    """Bare pyzmq with the same frames, large ones not copied by the sender."""
    [port] = free_ports(1)
    with other_process(receive_bare, port) as pipe:
        context = zmq.Context()
        dealer = context.socket(zmq.DEALER)
        dealer.connect(f"tcp://127.0.0.1:{port}")
        started_s, cpu_s = time.perf_counter(), time.process_time()
        sent = 0
        while time.perf_counter() - started_s < seconds:
            dealer.send_multipart(frames, copy=False)
            sent += rows
        dealer.send(b"all?")
        dealer.recv()
        wall_s, cpu_s = time.perf_counter() - started_s, time.process_time() - cpu_s
        their_cpu_s = pipe.recv()
        context.destroy(linger=1000)
    return Rate(sent / wall_s, (cpu_s + their_cpu_s) / sent)


def measure_writes(
    frames: list[Any], rows: int, seconds: float, journal: JournalConfig, scratch: Path, *, way: Way
) -> Rate:
    """The same bytes one after another, in calls and groups as large as the journal's."""
    message = b"".join(frames)
    group = max(1, journal.sync_bytes // len(message))
    size = group * len(message) // BLOCK_BYTES * BLOCK_BYTES
    pages = mmap.mmap(-1, size)
    if hasattr(mmap, "MADV_HUGEPAGE"):  # as the journal does
        pages.madvise(mmap.MADV_HUGEPAGE)
    memory = memoryview(pages)
    memory[:] = (message * group)[:size]
    parts = [memory[start : start + BUFFER_BYTES] for start in range(0, size, BUFFER_BYTES)]
    path = scratch / "ceiling"
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | (os.O_DIRECT if way.direct else 0))
    wrap_bytes = max(1, WRAP_BYTES // size) * size if way.over else None
    if wrap_bytes:
        for start in range(0, wrap_bytes, size):
            os.pwrite(descriptor, memory, start)
        os.fsync(descriptor)
    started_s, cpu_s = time.perf_counter(), time.process_time()
    written = place = 0
    while time.perf_counter() - started_s < seconds:
        for part in parts:
            assert os.pwrite(descriptor, part, place) == len(part)
            place += len(part)
        os.fdatasync(descriptor)
        written += group * rows
        place = 0 if place == wrap_bytes else place
    wall_s, cpu_s = time.perf_counter() - started_s, time.process_time() - cpu_s
    os.close(descriptor)
    path.unlink()
    return Rate(written / wall_s, cpu_s / written)


class other_process:
    """`target(*arguments, pipe)` in a process of its own, once it says ready; gives our end of the pipe."""

    def __init__(self, target: Callable[..., None], *arguments: Any) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=target, args=(*arguments, theirs), daemon=True)

    def __enter__(self) -> Connection:
        self._process.start()
        assert self._pipe.poll(TIMEOUT_S) and self._pipe.recv() == "ready"
        return self._pipe

    def __exit__(self, *_: object) -> None:
        self._process.join(TIMEOUT_S)
        self._process.kill()


def free_ports(count: int) -> list[int]:
    """Loopback ports that nobody listens on."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


# Rows are handed to the learner once they are on disk: this many may be on their way there.
CREDIT_ROWS = 1 << 16


def make_wire(config: Config, keys_dir: str | None) -> WireConfig:
    """The default wire on free ports, with credit for more than one sync."""
    experience, weights = free_ports(2)
    return msgspec.structs.replace(
        config.wire,
        experience_port=experience,
        weights_port=weights,
        keys_dir=keys_dir,
        credit_rows=CREDIT_ROWS,
    )


def writing_sides(
    frames: list[bytes], rows: int, seconds: float, journal: JournalConfig, scratch: Path
) -> dict[str, Callable[[], Rate]]:
    """The disk alone, in each of its ways."""
    return {
        name: functools.partial(measure_writes, frames, rows, seconds, journal, scratch, way=way)
        for name, way in WAYS.items()
    }


def measured_in_turn(sides: Mapping[str, Callable[[], Rate]], rounds: int) -> dict[str, list[Rate]]:
    """What each side gave in each round."""
    seen: dict[str, list[Rate]] = {name: [] for name in sides}
    for _ in range(rounds):
        for name, measure in sides.items():
            seen[name].append(measure())
    return seen


def run(rows: int, seconds: float, rounds: int, scratch: Path) -> dict[str, Any]:
    """All sides in turn, several times."""
    config = compose_config([])
    make_keys(scratch / "keys", [])
    limits = msgspec.convert(config.wire, Limits, from_attributes=True)
    columns = make_columns(rows, np.random.default_rng(0))
    frames = [
        bytes(frame) for frame in encode(Experience(session=2**62, sequence=10**6, columns=columns), limits)
    ]
    sides: dict[str, Callable[[], Rate]] = {
        "ours": lambda: measure_ours(config, make_wire(config, None), rows, seconds, scratch),
        "ours_curve": lambda: measure_ours(
            config, make_wire(config, str(scratch / "keys")), rows, seconds, scratch
        ),
        "socket": lambda: measure_socket(frames, rows, seconds),
    }
    sides |= writing_sides(frames, rows, seconds / 2, config.learner.journal, scratch)
    seen = measured_in_turn(sides, rounds)
    return summarise(seen, rows, sum(map(len, frames)))


def summarise(seen: dict[str, list[Rate]], rows: int, batch_bytes: int) -> dict[str, Any]:
    """Medians over the rounds, and ours beside the lower ceiling."""
    rates = {name: statistics.median(rate.rows_per_s for rate in each) for name, each in seen.items()}
    cpu = {name: statistics.median(rate.cpu_s_per_row for rate in each) for name, each in seen.items()}
    disk = max(rates[name] for name in WAYS)
    ceiling = min(rates["socket"], disk)
    result = {f"{name}_rows_per_s": round(rate) for name, rate in rates.items()}
    result |= {f"{name}_mb_per_s": round(rate * batch_bytes / rows / 1e6, 1) for name, rate in rates.items()}
    result |= {f"{name}_cpu_us_per_batch": round(each * rows * 1e6) for name, each in cpu.items()}
    return result | {
        "rows_per_batch": rows, "bytes_per_row": round(batch_bytes / rows),
        "ceiling": "socket" if rates["socket"] < disk else "disk",
        "ceiling_ratio": round(rates["ours"] / ceiling, 3),
        "ceiling_ratio_curve": round(rates["ours_curve"] / ceiling, 3),
        "ratio_to_disk": round(rates["ours"] / disk, 3),
        "ratio_to_socket": round(rates["ours"] / rates["socket"], 3),
        "rounds": {name: [round(rate.rows_per_s) for rate in each] for name, each in seen.items()},
    }  # fmt: skip


def main(argv: list[str]) -> None:
    parser = make_parser("benchmarks.wire", __doc__, KEYS)
    parser.add_argument("--rows", type=int, default=256, help="of a batch; %(default)s by default")
    parser.add_argument(
        "--seconds", type=float, default=1.5, help="of a side in a round; %(default)s by default"
    )
    parser.add_argument("--rounds", type=int, default=5, help="%(default)s by default")
    parser.add_argument("--scratch", type=Path, default=Path("."), help="on the journal's disk")
    options = parser.parse_args(argv)
    logging.basicConfig(level=logging.WARNING)
    keep_freed_memory()  # as an actor does
    with tempfile.TemporaryDirectory(dir=options.scratch, prefix=".wire-") as scratch:
        result = run(options.rows, options.seconds, options.rounds, Path(scratch))
    print_result(result, KEYS)


if __name__ == "__main__":
    main(sys.argv[1:])
