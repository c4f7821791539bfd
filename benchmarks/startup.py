"""Time from the command to the first frame of a run (about a minute; more where others use the machine).

ours: `residual-rl run` with its defaults, until the learner has the first rows, as metrics.jsonl tells.
peer: the least that any run with ManiSkill needs, in one process: importing it, building one simulator and
stepping it once. Sides in turns. Beside the times, the processor time of all processes of a side, which
other work on the machine changes less.
"""

import os
import resource
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import msgspec
import psutil

from benchmarks.command import make_parser, print_result
from config.compose import compose_config
from launch.run.folder import MetricsReader
from launch.study.study import free_ports

KEYS = {
    "rounds": "of both sides",
    "ours_s": "seconds from the command to the first frames, median",
    "peer_s": "seconds of one process with one simulator, median",
    "ratio": "ours_s / peer_s",
    "ours_processor_s": "processor seconds of all processes of the run until then, median",
    "peer_processor_s": "processor seconds of the one process, median",
    "processor_ratio": "ours_processor_s / peer_processor_s",
}
PEER = """
import sys
import msgspec
from actor.simulators.maniskill import make_simulator
from config.task import TaskConfig
env = make_simulator(msgspec.json.decode(sys.argv[1], type=TaskConfig), "physx_cpu", 1)
env.reset(seed=0)
env.step(env.action_space.sample())
"""
# Every row and every point at once, so that the first frame shows when it comes.
PROMPT = ("actor.rows_per_batch=1", "learner.log_every_s=0.05")


class Spent(NamedTuple):
    """Seconds until the first frame, and of processor time."""

    wall_s: float
    processor_s: float


def start_run(folder: Path, overrides: list[str]) -> Spent:
    """One run, ended at its first frames. Raises RuntimeError: it ended before."""
    experience, weights = free_ports()
    words = ("name=run", f"runs_dir={folder}", *PROMPT, *overrides)
    ports = (f"wire.experience_port={experience}", f"wire.weights_port={weights}")
    points, began = MetricsReader(folder / "run"), time.monotonic()
    with (folder / "output").open("w") as output:
        run = subprocess.Popen(
            [sys.executable, "-m", "launch", "run", *words, *ports],
            stdin=subprocess.DEVNULL, stdout=output, stderr=output,
        )  # fmt: skip
    try:
        while not any(point.get("frames") for point in points.read()):
            if run.poll() is not None:
                raise RuntimeError((folder / "output").read_text())
            time.sleep(0.02)
        wall_s = time.monotonic() - began
        return Spent(wall_s, processor_s(psutil.Process(run.pid)))
    finally:
        run.send_signal(signal.SIGINT)
        run.wait()


def processor_s(process: psutil.Process) -> float:
    """Of `process` and everybody below it, ended ones included."""
    times = (each.cpu_times() for each in (process, *process.children(recursive=True)))
    return sum(t.user + t.system + t.children_user + t.children_system for t in times)


def start_peer(task: str) -> Spent:
    """One process with one simulator."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    subprocess.run([sys.executable, "-W", "ignore", "-c", PEER, task], check=True, env=environment)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    busy_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Spent(time.monotonic() - began, busy_s)


def main(argv: list[str]) -> None:
    parser = make_parser("benchmarks.startup", __doc__, KEYS)
    parser.add_argument("--rounds", type=int, default=3, help="%(default)s by default")
    parser.add_argument("overrides", nargs="*", help="of the run: key=value")
    args = parser.parse_args(argv)
    task = msgspec.json.encode(compose_config(args.overrides).task).decode()
    ours, peer = list[Spent](), list[Spent]()
    for _ in range(args.rounds):
        peer.append(start_peer(task))
        with tempfile.TemporaryDirectory() as folder:
            ours.append(start_run(Path(folder), args.overrides))
    ours_s, ours_busy_s = (statistics.median(each) for each in zip(*ours, strict=True))
    peer_s, peer_busy_s = (statistics.median(each) for each in zip(*peer, strict=True))
    result = {
        "rounds": args.rounds,
        "ours_s": round(ours_s, 1),
        "peer_s": round(peer_s, 1),
        "ratio": round(ours_s / peer_s, 2),
        "ours_processor_s": round(ours_busy_s, 1),
        "peer_processor_s": round(peer_busy_s, 1),
        "processor_ratio": round(ours_busy_s / peer_busy_s, 2),
    }
    print_result(result, KEYS)


if __name__ == "__main__":
    main(sys.argv[1:])
