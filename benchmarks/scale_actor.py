"""One of many simulated actors of `benchmarks.scale`: sends recorded rows at a fixed rate.

A process of its own that imports what an actor's link needs and nothing else, so that 64 fit on one machine.
It prints `ready` once it is connected, begins when a line comes on standard input, and ends with a second
line: then it prints what it saw as JSON.
"""

import itertools
import select
import sys
import time
from collections.abc import Iterator

import msgspec
import numpy as np
import psutil

from actor.link.connection import Connection
from config.wire import WireConfig
from protocol.arrays import Columns
from protocol.experience import ExperienceSpec, zeros
from protocol.messages import PROTOCOL_VERSION, Hello

# Shorter than the time between two messages of a fast actor.
_STEP_S = 0.05
_EPISODE_DECISIONS = 13


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """What one simulated actor does."""

    wire: WireConfig
    spec: ExperienceSpec
    index: int
    rows_per_s: float
    rows_per_message: int
    sub_envs: int


class Seen(msgspec.Struct, frozen=True, kw_only=True):
    """What one simulated actor measured."""

    index: int
    sent_rows: int
    ack_s: list[float]
    """Of each message, from its submission until the learner's disk has it."""
    adopted_s: dict[int, float]
    """When each version of the weights arrived, by the clock that all processes of a host share."""
    rss_mb: float


def messages(order: Order) -> Iterator[Columns]:
    """Batches as an actor sends them, without end: each sub-environment plays one episode after another."""
    rng = np.random.default_rng(order.index)
    rows, spec = order.rows_per_message, order.spec
    fixed = zeros(spec, rows, ends=0)
    for name in ("observation", "action", "base_plan", "residual"):
        fixed[name] = rng.standard_normal(fixed[name].shape, np.float32).clip(-1, 1)
    fixed["frames"][:] = spec.residual_every
    for first in itertools.count(step=rows):
        played, sub_env = np.divmod(np.arange(first, first + rows), order.sub_envs)
        decision = played % _EPISODE_DECISIONS
        last = decision == _EPISODE_DECISIONS - 1
        ends = zeros(spec, rows, int(last.sum()))
        yield fixed | {
            "sub_env": sub_env.astype(np.int32),
            "decision": decision.astype(np.int32),
            "episode": played // _EPISODE_DECISIONS,
            "truncated": last,
            "final_row": np.flatnonzero(last).astype(np.int32),
            "final_observation": ends["final_observation"],
            "final_base_plan": ends["final_base_plan"],
        }


class SimulatedActor:
    """A connected actor that sends when it is time and when it has credit, as a real one."""

    def __init__(self, order: Order) -> None:
        self._order = order
        hello = Hello(
            protocol_version=PROTOCOL_VERSION, actor_id=f"actor-{order.index}", session=order.index + 1,
            role="actor", first_sequence=0, spec=order.spec,
        )  # fmt: skip
        self._connection = Connection(order.wire, hello, None)
        self._submitted_s: dict[int, float] = {}
        self._ack_s: list[float] = []
        self._adopted_s: dict[int, float] = {}
        self._messages = messages(order)
        self._sent = 0

    def connect(self) -> None:
        """Wait for the learner's Welcome. Raises TimeoutError, UplinkError: none came."""
        until_s = time.monotonic() + self._order.wire.connect_timeout_s
        while not self._connection.session.connected:
            self._exchange(_STEP_S)
            if time.monotonic() > until_s:
                raise TimeoutError(f"no learner at {self._order.wire.address}")

    def idle(self) -> None:
        """Stay connected until a line was said on standard input."""
        while not _was_told():
            self._exchange(_STEP_S)

    def work(self) -> None:
        """Send until a line was said on standard input."""
        session, every_s = self._connection.session, self._order.rows_per_message / self._order.rows_per_s
        # Actors are not in step.
        due_s = time.monotonic() + every_s * (self._order.index * 0.618 % 1)
        while not _was_told():
            now_s = time.monotonic()
            if now_s >= due_s and not session.unsent:
                self._submitted_s[self._sent] = now_s
                session.submit_experience(next(self._messages))
                self._sent += 1
                due_s = max(due_s + every_s, now_s)  # what credit held back is not made up for
            # Without credit there is nothing to do until the learner says something.
            left_s = _STEP_S if session.unsent else due_s - time.monotonic()
            self._exchange(min(_STEP_S, max(0.0, left_s)))

    def _exchange(self, wait_s: float) -> None:
        self._connection.exchange()
        self._note(time.monotonic())
        self._connection.wait(wait_s)

    def _note(self, now_s: float) -> None:
        for sequence in list(self._submitted_s):
            if sequence >= self._connection.session.durable:
                break
            self._ack_s.append(now_s - self._submitted_s.pop(sequence))
        weights, _ = self._connection.receive_published()
        if weights is not None:
            self._adopted_s[weights.version] = now_s

    def seen(self) -> Seen:
        return Seen(
            index=self._order.index,
            sent_rows=self._sent * self._order.rows_per_message,
            ack_s=self._ack_s,
            adopted_s=self._adopted_s,
            rss_mb=psutil.Process().memory_info().rss / 1e6,
        )


def _was_told() -> bool:
    """Whether a line came on standard input, which is read."""
    if not select.select([sys.stdin], [], [], 0)[0]:
        return False
    sys.stdin.readline()
    return True


def say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def main(argv: list[str]) -> None:
    actor = SimulatedActor(msgspec.json.decode(argv[0], type=Order))
    actor.connect()
    say("ready")
    actor.idle()
    actor.work()
    say(msgspec.json.encode(actor.seen()).decode())


if __name__ == "__main__":
    main(sys.argv[1:])
