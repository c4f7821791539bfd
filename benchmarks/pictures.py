"""What pictures cost on the way of experience: two cameras of 128 x 128, beside peers in the same run.

wire: rows/s from an actor's `Uplink.send` until durable, as in `benchmarks.wire`; the lower one of bare
pyzmq and the fastest way to write to the disk is the ceiling, and a copy in memory stands beside them.
image and video: frames/s that the store writes as PNG and as h264, beside LeRobot's own recording with the
settings of lerobot-record (threads that write pictures; its streaming encoder with h264, and with its default
AV1), the bare encoders being the ceiling. ring: batches/s with pictures of both ends, beside lerobot.rl's
ReplayBuffer and a bare index_select of the same pictures. updates: updates/s of a residual that sees
proprioception and pictures, beside one that sees the state; the encoder's passes alone are the ceiling.

About five minutes, more beside other work, and 3 GB of memory. Wire, datasets, and learning in processes of
their own; all sides in turn, medians over the rounds; one thread for torch, and LeRobot's own threads for its
pictures. Where others use the machine, look at the processor time.
"""

import functools
import logging
import multiprocessing
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import torch

from actor.loop import rows_in_a_message
from actor.malloc import keep_freed_memory
from benchmarks import pictures_learning, pictures_recording
from benchmarks.command import make_parser, print_result
from benchmarks.pictures_film import CAMERAS
from benchmarks.pictures_learning import words_of
from benchmarks.wire import (
    SPEC,
    WAYS,
    Rate,
    make_columns,
    make_wire,
    measure_ours,
    measure_socket,
    measured_in_turn,
    writing_sides,
)
from config.compose import compose_config
from protocol.arrays import Limits
from protocol.codec import encode
from protocol.messages import Experience

KEYS = {
    "ours": "frames a second that the store writes as PNG, the default",
    "peer": "the same of LeRobot's recording",
    "ratio": "ours / peer",
    "ceiling": "the same of the bare PNG encoder",
    "ceiling_ratio": "ours / ceiling",
    "wire": "ours, socket, each way to write, and copy, which is one in memory: *_rows_per_s, *_mb_per_s, "
    "*_cpu_ms_per_row of all processes; which of socket and disk is the ceiling, and ceiling_ratio",
    "image": "of ours, peer and ceiling: *_frames_per_s, *_cpu_ms_per_frame, *_kb_per_frame on disk; ratio "
    "and ceiling_ratio of frames per second, ratio_cpu and ceiling_ratio_cpu of frames per processor second",
    "video": "the same, and of peer_av1",
    "ring": "the same of batches; ours_as_float32 hands over the numbers that the peer does",
    "updates": "the same of updates; state is one that sees the state alone, ratio_to_state ours / state",
    "picture_size": "width and height",
    "rows_per_batch": "transitions of a batch",
}


def measure_wire(size: int, seconds: float, rounds: int, scratch: Path) -> dict[str, Any]:
    """All sides in turn."""
    config = compose_config(words_of(size))
    spec = msgspec.structs.replace(SPEC, cameras=dict.fromkeys(CAMERAS, (size, size)))
    rows = rows_in_a_message(config, spec)
    limits = msgspec.convert(config.wire, Limits, from_attributes=True)
    columns = make_columns(rows, np.random.default_rng(0), spec)
    message = Experience(session=2**62, sequence=10**6, columns=columns)
    frames = [bytes(frame) for frame in encode(message, limits)]
    sides: dict[str, Callable[[], Rate]] = {
        "ours": lambda: measure_ours(config, make_wire(config, None), rows, seconds, scratch, spec=spec),
        "socket": lambda: measure_socket(frames, rows, seconds),
        "copy": lambda: measure_copy(frames, rows, seconds / 2),
    }
    sides |= writing_sides(frames, rows, seconds / 2, config.learner.journal, scratch)
    seen = measured_in_turn(sides, rounds)
    medians = {name: Rate(*map(statistics.median, zip(*each, strict=True))) for name, each in seen.items()}
    return summarise_wire(medians, rows, sum(map(len, frames)))


def measure_copy(frames: list[bytes], rows: int, seconds: float) -> Rate:
    """The bytes of a message from one place in memory to another."""
    source = np.frombuffer(b"".join(frames), np.uint8)
    target = np.zeros_like(source)
    copied, began_s, cpu_s = 0, time.perf_counter(), time.process_time()
    while time.perf_counter() - began_s < seconds:
        np.copyto(target, source)
        copied += rows
    wall_s, cpu_s = time.perf_counter() - began_s, time.process_time() - cpu_s
    return Rate(copied / wall_s, cpu_s / copied)


def summarise_wire(rates: dict[str, Rate], rows: int, message_bytes: int) -> dict[str, Any]:
    """Figures of each side, and ours beside the lower ceiling."""
    disk = max(rates[name].rows_per_s for name in WAYS)
    socket, ours = rates["socket"].rows_per_s, rates["ours"].rows_per_s
    figures: dict[str, Any] = {f"{name}_rows_per_s": round(rate.rows_per_s) for name, rate in rates.items()}
    for name, rate in rates.items():
        figures[f"{name}_mb_per_s"] = round(rate.rows_per_s * message_bytes / rows / 1e6)
        figures[f"{name}_cpu_ms_per_row"] = round(1e3 * rate.cpu_s_per_row, 4)
    return figures | {
        "rows_per_message": rows,
        "bytes_per_row": round(message_bytes / rows),
        "ceiling": "socket" if socket < disk else "disk",
        "ceiling_ratio": round(ours / min(socket, disk), 3),
        "ratio_to_disk": round(ours / disk, 3),
        "ratio_to_socket": round(ours / socket, 3),
        "ratio_to_copy": round(ours / rates["copy"].rows_per_s, 3),
    }


def apart[T](measure: Callable[..., T], *arguments: Any) -> T:
    """What `measure` returns, in a process of its own: memory that one part has freed makes large batches of
    the next one cheaper, since it need not come from the system."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), initializer=begin) as pool:
        return pool.submit(measure, *arguments).result()


def begin() -> None:
    """In each process that measures."""
    logging.disable(logging.WARNING)
    torch.set_num_threads(1)


def main(argv: list[str]) -> None:
    parser = make_parser("benchmarks.pictures", __doc__, KEYS)
    add = functools.partial(parser.add_argument, type=int)
    add("--rounds", default=3, help="%(default)s by default")
    add("--seconds", type=float, default=1.5, help="of a side of the wire; %(default)s by default")
    add("--frames", default=800, help="of a dataset, in episodes of 50; %(default)s by default")
    add("--rows", default=2000, help="of the ring; %(default)s by default")
    add("--batch", default=256, help="transitions; %(default)s by default")
    add("--updates", default=4, help="that see pictures, in a turn; %(default)s by default")
    add("--size", default=128, help="width and height of a picture; %(default)s by default")
    add("--scratch", type=Path, default=Path("."), help="on the journal's disk")
    options = parser.parse_args(argv)
    keep_freed_memory()  # as an actor does
    with tempfile.TemporaryDirectory(dir=options.scratch, prefix=".pictures-") as folder:
        scratch = Path(folder)
        result = {"wire": measure_wire(options.size, options.seconds, options.rounds, scratch)}
        result |= apart(pictures_recording.measure, options.rounds, options.frames, options.size, scratch)
    learning = options.rounds, options.rows, options.batch, options.updates, options.size
    result |= apart(pictures_learning.measure, *learning)
    image = result["image"]
    headline = {name: image[f"{name}_frames_per_s"] for name in ("ours", "peer", "ceiling")}
    headline |= {name: image[name] for name in ("ratio", "ceiling_ratio")}
    sizes = {"picture_size": options.size, "rows_per_batch": options.batch}
    print_result(headline | sizes | result, KEYS)


if __name__ == "__main__":
    begin()
    main(sys.argv[1:])
