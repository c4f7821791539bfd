"""Time from a key to the action in the simulator (about a minute; more where others use the machine).

A learner in a process of its own trains with the defaults, from its first rows on. An actor in this process
plays one robot in real time with the run's base, drives it from a pseudo-terminal, and sends its experience.
A key is typed at random moments, and is there once the simulators are given the action that it means. At 20
frames a second a key waits half a frame on average for the frame in which it is asked for.
"""

import logging
import os
import pty
import random
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
from torch import Tensor

from actor.interventions.keyboard import Keyboard
from actor.interventions.terminal import Terminal
from actor.loop import make_policy, make_rollout, make_uplink, rows_in_a_message, shown, simulate
from actor.policy.make import make_base
from actor.policy.spec import experience_spec
from actor.simulators.contract import Step, VectorEnvironment
from actor.simulators.make import make_environment
from benchmarks.command import make_parser, print_result
from config.compose import compose_config
from config.main import Config
from launch.study.study import free_ports

KEYS = {
    "keys": "typed",
    "frame_ms": "of a frame, at the control frequency",
    "median_ms": "from a key to its action, median",
    "p95_ms": "the same, 95 of 100 are faster",
    "worst_ms": "the same, the slowest one",
    "frames_at_p95": "p95_ms / frame_ms",
    "frames_per_s": "that the actor played while keys were typed",
}
# In the first dimension of the action, for one frame.
MOVE, SIZE = "w", 0.4321


class Noted:
    """As `envs`; says when it was given the action of the key."""

    def __init__(self, envs: VectorEnvironment) -> None:
        self._envs, self.seen, self.seen_s, self.frames = envs, threading.Event(), 0.0, 0

    def step(self, action: Tensor) -> Step:
        self.frames += 1
        if abs(float(action[0, 0]) - SIZE) < 1e-6:
            self.seen_s = time.monotonic()
            self.seen.set()
        return self._envs.step(action)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._envs, name)


def type_keys(master: int, noted: Noted, keys: int, warm_frames: int, stop: threading.Event) -> list[float]:
    """Seconds from each key to its action."""
    rng, waited = random.Random(0), list[float]()
    while noted.frames < warm_frames and not stop.is_set():
        time.sleep(0.05)
    for _ in range(keys):
        time.sleep(rng.uniform(0.1, 0.3))
        noted.seen.clear()
        typed_s = time.monotonic()
        os.write(master, MOVE.encode())
        if not noted.seen.wait(10.0) or stop.is_set():
            break
        waited.append(noted.seen_s - typed_s)
    stop.set()
    return waited


@contextmanager
def learning(folder: Path, overrides: list[str]) -> Iterator[None]:
    """A learner of a run that keeps interventions."""
    words = ["name=run", f"runs_dir={folder}", "learner.interventions=true", "tracking=[]", *overrides]
    with (folder / "learner.log").open("w") as said:
        learner = subprocess.Popen(
            [sys.executable, "-m", "launch", "learner", *words],
            stdin=subprocess.DEVNULL, stdout=said, stderr=said,
        )  # fmt: skip
    try:
        yield
    finally:
        learner.terminate()
        learner.wait()


def measure(config: Config, keys: int, warm_frames: int) -> dict[str, Any]:
    """Play until all keys were typed."""
    stop, (master, slave) = threading.Event(), pty.openpty()
    settings, found = config.actor, list[float]()
    envs = make_environment(config.task, settings.backend, settings.num_envs, 1, 1, settings.shown)
    noted = Noted(envs)
    base = make_base(config.base, config.task, settings.device)
    spec = experience_spec(config, base)
    uplink = make_uplink(config, spec, stop, most_base_bytes=0)
    with Terminal(os.ttyname(slave)) as terminal:
        keyboard = Keyboard(terminal, settings.keyboard, envs.num_envs, envs.action_dim)
        try:
            uplink.connect()
            seen = shown(config, noted)  # type: ignore[arg-type] # it stands for envs
            policy = make_policy(config, base, seen, keyboard, 1)
            rollout = make_rollout(config, policy, seen, keyboard, spec, 1)
            typing = threading.Thread(
                target=lambda: found.extend(type_keys(master, noted, keys, warm_frames, stop)), daemon=True
            )
            typing.start()
            started_s = time.monotonic()
            simulate(
                rollout, policy, uplink, rows_in_a_message(config, spec), stop, patience_s=config.wire.lease_s
            )
            rate = noted.frames / (time.monotonic() - started_s)
            typing.join()
        finally:
            uplink.close()
            envs.close()
    return describe(found, 1000 / config.learner.fps, rate)


def describe(waited: list[float], frame_ms: float, rate: float) -> dict[str, Any]:
    """The last line's object."""
    ordered = sorted(1000 * each for each in waited)
    p95 = ordered[min(len(ordered) - 1, round(0.95 * len(ordered)))]
    return {
        "keys": len(ordered),
        "frame_ms": frame_ms,
        "median_ms": round(statistics.median(ordered), 1),
        "p95_ms": round(p95, 1),
        "worst_ms": round(ordered[-1], 1),
        "frames_at_p95": round(p95 / frame_ms, 2),
        "frames_per_s": round(rate, 1),
    }


def main(argv: list[str]) -> None:
    parser = make_parser("benchmarks.takeover", __doc__, KEYS)
    parser.add_argument("--keys", type=int, default=60, help="%(default)s by default")
    parser.add_argument("overrides", nargs="*", help="of learner and actor: key=value")
    args = parser.parse_args(argv)
    logging.basicConfig(level=logging.WARNING)
    experience, weights = free_ports()
    ports = [f"wire.experience_port={experience}", f"wire.weights_port={weights}"]
    both = [*ports, "algo.learning_starts=4", *args.overrides]
    own = [
        "actor.intervene=keyboard", "actor.num_envs=1", "actor.keyboard.hold_frames=1", "actor.pictures=null",
        f"actor.keyboard.size={SIZE}", "actor.spool=null", *both,
    ]  # fmt: skip
    with tempfile.TemporaryDirectory() as folder, learning(Path(folder), both):
        config = msgspec.structs.replace(compose_config(own), runs_dir=folder, name="run")
        print_result(measure(config, args.keys, warm_frames=100), KEYS)


if __name__ == "__main__":
    main(sys.argv[1:])
