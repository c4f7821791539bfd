"""What it costs to watch a run: page, report, monitor and trackers (three minutes a round and side).

ours: a run with everything on: its page and a reader who asks for fresh figures every 2 s, as a browser does,
report.html, a monitor in a terminal, and the trackers of the configuration.
peer: the same run with nothing but learner, actors and evaluator. Sides in turns; rates from the first point
of metrics.jsonl with WARM_UPDATES updates to the last, in which evaluations are few and short: one of the
usual size takes half of two cores for a minute, at another time in each run.
"""

import contextlib
import os
import pty
import statistics
import subprocess
import sys
import tempfile
import termios
import threading
import time
from collections.abc import Generator
from pathlib import Path
from typing import NamedTuple
from urllib.error import URLError
from urllib.request import urlopen

import psutil

from benchmarks.command import make_parser, print_result
from config.compose import compose_config
from config.main import Config
from config.process import StopRequest
from launch.run.folder import MetricsReader
from launch.run.launcher import make_commands, write_launch_file
from launch.run.processes import Team
from launch.run.supervisor import supervise
from launch.study.study import free_ports
from learner.folder import make_run_dir

KEYS = {
    "rounds": "of both sides",
    "ours": "frames/s of the run that is watched, median",
    "peer": "frames/s of the run that is not, median",
    "ratio": "ours / peer",
    "ceiling": "as peer: a run cannot be faster than unwatched",
    "ceiling_ratio": "ours / ceiling",
    "ours_updates_per_s": "of the run that is watched, median",
    "peer_updates_per_s": "of the run that is not, median",
    "updates_ratio": "ours_updates_per_s / peer_updates_per_s",
    "page_processor_share": "processor seconds of the page in a second of the watched run, median",
    "monitor_processor_share": "the same of the monitor",
    "trackers_processor_share": "the same of the trackers' processes",
}
UNWATCHED = ("tracking=[]",)
WARM_UPDATES = 1500
"""The updates of the critics alone, which come all at once, are over."""
# Films are made once the run is over.
RUN = (
    "learner.stop_at=null",
    "learner.evaluation.videos=0",
    "learner.evaluation.episodes=10",
    "learner.evaluation.interim_episodes=10",
    "learner.evaluation.every_s=60",
)
LOOK_S = 2.0
WATCHERS = {"page": "launch page ", "monitor": "launch monitor ", "trackers": "learner.tracking."}
"""Each with a part of its processes' command lines."""


class Rates(NamedTuple):
    """Per second of training."""

    frames: float
    updates: float
    page: float = 0.0
    """Processor seconds of it; so the two that follow."""
    monitor: float = 0.0
    trackers: float = 0.0


def play(folder: Path, overrides: list[str], *, watched: bool) -> Rates:
    """One run. Raises RuntimeError: it failed."""
    experience, weights = free_ports()
    page, _ = free_ports()
    words = ["name=run", f"runs_dir={folder}", f"page.port={page}", *overrides]
    words += [f"wire.experience_port={experience}", f"wire.weights_port={weights}"]
    config = compose_config([*words, *(() if watched else UNWATCHED)])
    make_run_dir(config)
    commands = make_commands(config, write_launch_file(config))
    points, lines = MetricsReader(config.run_dir), list[str]()
    code = 0
    spent = ProcessorTime()
    with watching(config, spent) if watched else contextlib.nullcontext():
        code = supervise(
            [each for each in commands if watched or each.role != "page"],
            Team(config.run_dir / "logs", lambda name, line: lines.append(f"{name} | {line}")),
            StopRequest(),
            may_evaluate=lambda: any(point.get("frames") for point in points.read()),
        )
    if code or (watched and not (config.run_dir / "report.html").exists()):
        raise RuntimeError("\n".join(["the run, or its page, failed", *lines[-20:]]))
    return rates_of(config.run_dir)._replace(**spent.shares())


class ProcessorTime:
    """Of the processes that watch a run, from the first look at each to the last."""

    def __init__(self) -> None:
        self._first: dict[str, tuple[float, float]] = {}
        self._last: dict[str, tuple[float, float]] = {}

    def look(self) -> None:
        now_s, spent_s = time.monotonic(), dict.fromkeys(WATCHERS, 0.0)
        for process in psutil.Process().children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess, psutil.ZombieProcess):
                line, times = " ".join(process.cmdline()), process.cpu_times()
                for name, part in WATCHERS.items():
                    spent_s[name] += times.user + times.system if part in line else 0.0
        for name, seconds in spent_s.items():
            if seconds > 0:
                self._first.setdefault(name, (now_s, seconds))
                self._last[name] = (now_s, seconds)

    def shares(self) -> dict[str, float]:
        """Processor seconds a second of each that was seen twice."""
        return {
            name: (self._last[name][1] - first_s) / max(self._last[name][0] - at_s, LOOK_S)
            for name, (at_s, first_s) in self._first.items()
        }


def rates_of(run_dir: Path) -> Rates:
    """Raises RuntimeError: the run was too short."""
    points = [p for p in MetricsReader(run_dir).read() if "eval_version" not in p]
    # Once the frames have arrived, only what is left is done.
    trained = [
        p for p in points if p.get("updates", 0) >= WARM_UPDATES and p["frames"] < points[-1]["frames"]
    ]
    if len(trained) < 2:
        raise RuntimeError(
            f"{len(trained)} points with {WARM_UPDATES} updates, rates need two: more --frames"
        )
    first, last = trained[0], trained[-1]
    seconds = last["t_s"] - first["t_s"]
    return Rates((last["frames"] - first["frames"]) / seconds, (last["updates"] - first["updates"]) / seconds)


@contextlib.contextmanager
def watching(config: Config, spent: ProcessorTime) -> Generator[None]:
    """A monitor, and a reader of the page, until the run is over."""
    over = threading.Event()

    def look() -> None:
        while not over.wait(LOOK_S):
            spent.look()
            with contextlib.suppress(URLError, ConnectionError, TimeoutError):
                urlopen(f"http://127.0.0.1:{config.page.port}/data", timeout=LOOK_S).read()

    reader = threading.Thread(target=look)
    reader.start()
    try:
        with monitoring(config.run_dir):
            yield
    finally:
        over.set()
        reader.join()


@contextlib.contextmanager
def monitoring(run_dir: Path) -> Generator[None]:
    """The monitor in a terminal, all of whose output is read."""
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (60, 200))
    monitor = subprocess.Popen(
        [sys.executable, "-m", "launch", "monitor", str(run_dir)],
        stdin=theirs, stdout=theirs, stderr=theirs, env=os.environ | {"TERM": "xterm-256color"},
    )  # fmt: skip
    os.close(theirs)

    def drain() -> None:
        with contextlib.suppress(OSError):  # the terminal's other side is closed
            while os.read(ours, 1 << 16):
                pass

    drained = threading.Thread(target=drain)
    drained.start()
    try:
        yield
    finally:
        monitor.kill()
        monitor.wait()
        drained.join()
        os.close(ours)


def main(argv: list[str]) -> None:
    parser = make_parser("benchmarks.observability", __doc__, KEYS)
    parser.add_argument("--rounds", type=int, default=3, help="%(default)s by default")
    parser.add_argument("--frames", type=int, default=60_000, help="of a run; %(default)s by default")
    parser.add_argument("overrides", nargs="*", help="of the runs: key=value")
    args = parser.parse_args(argv)
    words = [*RUN, f"learner.total_frames={args.frames}", *args.overrides]
    sides: dict[bool, list[Rates]] = {False: [], True: []}
    for number in range(args.rounds):
        for watched in (False, True) if number % 2 == 0 else (True, False):
            with tempfile.TemporaryDirectory() as folder:
                sides[watched].append(play(Path(folder), words, watched=watched))
            print(f"{'ours' if watched else 'peer'}: {sides[watched][-1]}", file=sys.stderr)  # noqa: T201
    ours, peer = (Rates(*map(statistics.median, zip(*sides[side], strict=True))) for side in (True, False))
    result = {
        "rounds": args.rounds,
        "ours": round(ours.frames),
        "peer": round(peer.frames),
        "ratio": round(ours.frames / peer.frames, 3),
        "ceiling": round(peer.frames),
        "ceiling_ratio": round(ours.frames / peer.frames, 3),
        "ours_updates_per_s": round(ours.updates, 1),
        "peer_updates_per_s": round(peer.updates, 1),
        "updates_ratio": round(ours.updates / peer.updates, 3),
        "page_processor_share": round(ours.page, 4),
        "monitor_processor_share": round(ours.monitor, 4),
        "trackers_processor_share": round(ours.trackers, 4),
    }
    print_result(result, KEYS)


if __name__ == "__main__":
    main(sys.argv[1:])
