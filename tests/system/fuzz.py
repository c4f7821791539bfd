"""Malformed messages against a real learner process, with a real actor beside them.

    python -m tests.system.fuzz [--messages 200000] [--seed 0]

Prints one JSON object and ends with 1 if the learner ended or grew by over 5 %, if a class of fault was
not counted, or if a row of the real actor was lost.
"""

import argparse
import json
import logging
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import zmq

from config.wire import WireConfig
from protocol.arrays import Limits
from protocol.codec import encode
from protocol.messages import (
    PROTOCOL_VERSION,
    Columns,
    Evaluation,
    Experience,
    Heartbeat,
    Hello,
    Message,
    WeightsRequest,
)
from tests.support.identifiable import make_stream, pack
from tests.support.spec import SPEC
from tests.system.chaos import count, make_settings, verdict

log = logging.getLogger("fuzz")

Frames = list[bytes]

# Each of these must have been counted by the learner at the end.
COUNTERS = (
    "bad_header", "bad_array", "wrong_frames", "over_limit", "other_version", "refused", "unknown_session",
    "bad_experience", "bad_evaluation", "bad_heartbeat", "duplicates", "gaps",
)  # fmt: skip
WARM_UP = 0.1
WARM_ROWS = 300
LEAST_WARM_UP = 5000
LARGEST_GROWTH = 1.05
TIMEOUT_S = 180.0


class Mutator:
    """Real messages and what can be done to them. `session` is open at the learner."""

    def __init__(self, rng: random.Random, limits: Limits, session: int) -> None:
        self._rng, self._limits, self.session = rng, limits, session
        self._sequence = 0
        _, rows = make_stream("vandal", 0, [9, 14, 5], sub_envs=2)
        self._columns = [pack(rows[i : i + 5]) for i in range(0, len(rows), 5)]
        self._ways: tuple[Callable[[], Frames], ...] = (
            self.truncated, self.wrong_count, self.huge_dimensions, self.nested, self.random_bytes,
            self.wrong_session, self.flipped_bits, self.bad_rows, self.other_version, self.too_large,
            self.wrong_sequence, self.lying_lengths, self.wrong_spec, self.bad_figures, self.bad_evaluation,
            self.question,
        )  # fmt: skip

    def next(self) -> Frames:
        """One malformed message."""
        return self._rng.choice(self._ways)()

    def real(self) -> Frames:
        """A real message of some kind."""
        kind = self._rng.randrange(5)
        session = self.session
        match kind:
            case 0:
                return self.encode(self.hello())
            case 1:
                return self.encode(Heartbeat(session=session, figures={"frames": 1.0}))
            case 2:
                return self.encode(WeightsRequest(session=session))
            case 3:
                return self.encode(self._evaluation(2))
            case _:
                return self.encode(self._experience(self._rng.choice(self._columns)))

    def hello(self, **changes: Any) -> Hello:
        hello = Hello(
            protocol_version=PROTOCOL_VERSION, actor_id="vandal", session=self.session, role="actor",
            first_sequence=0, spec=SPEC,
        )  # fmt: skip
        return msgspec.structs.replace(hello, **changes)

    def truncated(self) -> Frames:
        frames = self.real()
        place = self._rng.randrange(len(frames))
        frames[place] = frames[place][: self._rng.randrange(max(1, len(frames[place])))]
        return frames

    def wrong_count(self) -> Frames:
        frames = self.encode(self._experience(self._rng.choice(self._columns)))
        if self._rng.random() < 0.5:
            return frames[: self._rng.randrange(1, len(frames))]
        return frames + [b"x" * self._rng.randrange(50)] * self._rng.randint(1, 20)

    def huge_dimensions(self) -> Frames:
        huge = [self._rng.choice((2**31 - 1, 2**31, 2**40, 2**62, 2**63 - 1, -1, 0)) for _ in range(3)]
        dims = huge + [1] * self._rng.randrange(4)
        return self._with_array({"dtype": self._rng.choice(("f4", "f8", "b1")), "shape": dims})

    def nested(self) -> Frames:
        depth = self._rng.choice((10, 1000, 60000))
        opening = self._rng.choice((b"\x91", b"\x81\x01"))
        return [bytes([0x92, PROTOCOL_VERSION]) + opening * (depth // len(opening)), b""]

    def random_bytes(self) -> Frames:
        sizes = [self._rng.randrange(300) for _ in range(self._rng.randint(1, 8))]
        return [self._rng.randbytes(size) for size in sizes]

    def wrong_session(self) -> Frames:
        columns = self._rng.choice(self._columns)
        return self.encode(Experience(session=self._rng.getrandbits(63), sequence=0, columns=columns))

    def flipped_bits(self) -> Frames:
        frames = self.real()
        place = self._rng.randrange(len(frames))
        damaged = bytearray(frames[place] or b"\0")
        for _ in range(self._rng.randint(1, 4)):
            damaged[self._rng.randrange(len(damaged))] ^= 1 << self._rng.randrange(8)
        frames[place] = bytes(damaged)
        return frames

    def bad_rows(self) -> Frames:
        columns = {name: array.copy() for name, array in self._rng.choice(self._columns).items()}
        match self._rng.randrange(4):
            case 0:
                columns["observation"].flat[self._rng.randrange(columns["observation"].size)] = float("nan")
            case 1:
                columns["frames"][0] = self._rng.choice((0, -5, 99))
            case 2:
                del columns[self._rng.choice(sorted(columns))]
            case _:
                columns["reward"] = columns["reward"].astype("f8")
        return self.encode(self._experience(columns))

    def other_version(self) -> Frames:
        return [msgspec.msgpack.encode([self._rng.randrange(PROTOCOL_VERSION + 1, 2**31), {"kind": "hello"}])]

    def too_large(self) -> Frames:
        if self._rng.random() < 0.5:
            return [b"\x92" * (self._limits.max_header_bytes + 1 + self._rng.randrange(100))]
        return [self.encode(self.hello())[0], *[b""] * (self._limits.max_arrays + 1)]

    def wrong_sequence(self) -> Frames:
        """Gaps and duplicates, of rows that are right."""
        sequence = self._rng.choice((0, self._sequence + self._rng.randint(2, 2**40)))
        columns = self._rng.choice(self._columns)
        return self.encode(Experience(session=self.session, sequence=sequence, columns=columns))

    def lying_lengths(self) -> Frames:
        """msgpack that announces billions of elements, or gigabytes of text."""
        start = self._rng.choice((b"\xdd\xff\xff\xff\xff", b"\xdf\xff\xff\xff\xff", b"\xc6\xff\xff\xff\xff"))
        return [bytes([0x92, PROTOCOL_VERSION]) + start + self._rng.randbytes(20)]

    def wrong_spec(self) -> Frames:
        spec = msgspec.structs.replace(SPEC, env_id=f"Task-{self._rng.randrange(10**6)}")
        return self.encode(self.hello(spec=spec, actor_id=f"vandal-{self._rng.randrange(10**6)}"))

    def question(self) -> Frames:
        """Which run it is, asked in anybody's name."""
        actor_id = self._rng.choice(("vandal", "actor-0", "", "x" * 65))
        return self.encode(self.hello(spec=None, actor_id=actor_id, session=self._rng.getrandbits(62)))

    def bad_figures(self) -> Frames:
        figures = {f"figure-{i}": 0.5 for i in range(self._rng.randint(65, 500))}
        return self.encode(Heartbeat(session=self.session, figures=figures))

    def bad_evaluation(self) -> Frames:
        evaluation = self._evaluation(self._rng.randint(3, 50))
        return self.encode(evaluation)

    def _with_array(self, description: dict[str, Any]) -> Frames:
        fields = {"kind": "experience", "session": self.session, "sequence": 0}
        header = msgspec.msgpack.encode([PROTOCOL_VERSION, fields | {"columns": {"frames": description}}])
        return [header, self._rng.randbytes(8)]

    def _experience(self, columns: Columns) -> Experience:
        # The number after the last that the learner received, as far as we know.
        self._sequence += 1
        return Experience(session=self.session, sequence=self._sequence - 1, columns=columns)

    def _evaluation(self, seeds: int) -> Evaluation:
        self._sequence += 1
        return Evaluation(
            session=self.session, sequence=self._sequence - 1, policy="full", version=1,
            successes=[True, False], seeds=list(range(seeds)), wall_s=1.0,
        )  # fmt: skip

    def encode(self, message: Message) -> Frames:
        return [bytes(frame) for frame in encode(message, self._limits)]

    def follow(self, sequence: int) -> None:
        """The number that the learner wants next."""
        self._sequence = sequence


class Vandal:
    """Sends without credit or shame over a bare socket, and reads the answers as a real client would."""

    def __init__(self, wire: WireConfig, rng: random.Random) -> None:
        self._context = zmq.Context()
        self._socket = self._context.socket(zmq.DEALER)
        self._socket.setsockopt(zmq.LINGER, 0)
        self._socket.connect(f"tcp://{wire.host}:{wire.experience_port}")
        self.mutator = Mutator(rng, msgspec.convert(wire, Limits, from_attributes=True), 0)
        self._rng = rng
        self.open_session()

    def open_session(self) -> None:
        """A fresh session, as after a restart."""
        self.mutator.session = self._rng.getrandbits(62)
        self.mutator.follow(0)
        self.send(self.mutator.encode(self.mutator.hello()))

    def send(self, frames: Frames) -> None:
        """Waits while ZeroMQ's queue is full."""
        self._socket.send_multipart(frames)
        while self._socket.poll(0):
            answer = msgspec.msgpack.decode(self._socket.recv_multipart()[0])[1]
            if answer["kind"] in ("welcome", "ack") and answer["session"] == self.mutator.session:
                self.mutator.follow(answer["next_sequence"])

    def close(self) -> None:
        self._context.destroy(linger=2000)


def read_status(folder: Path, counted: int = 0, rows: int = 0) -> dict[str, Any]:
    """The learner's newest status, once it has received `counted` messages, and `rows` of the real actor."""
    deadline_s = time.monotonic() + TIMEOUT_S
    while time.monotonic() < deadline_s:
        path = folder / "status.json"
        if path.exists():
            status = json.loads(path.read_text())
            messages = sum(n for name, n in status["counters"].items() if name != "rows")
            if messages >= counted and status["counters"].get("rows", 0) >= rows:
                return status
        time.sleep(0.05)
    raise TimeoutError(f"the learner received fewer than {counted} messages")


def attack(vandal: Vandal, messages: int) -> None:
    for number in range(messages):
        if number % 100 == 99:
            vandal.open_session()
        vandal.send(vandal.mutator.next())


def run(folder: Path, messages: int, seed: int) -> dict[str, Any]:
    """The attack, and the count of what it did."""
    settings = make_settings(folder, "127.0.0.1")
    settings["rows_per_s"] = 500.0
    settings_path = folder / "settings.json"
    settings_path.write_text(json.dumps(settings))
    wire = msgspec.convert(settings["wire"], WireConfig)
    with (folder / "processes.log").open("wb") as output:
        learner, actor = (
            subprocess.Popen(
                [sys.executable, "-m", "tests.system.chaos_child", words[0], str(settings_path), *words[1:]],
                stdout=output,
                stderr=output,
            )
            for words in (("learner",), ("actor", "actor-0"))
        )
        try:
            read_status(folder)
            vandal = Vandal(wire, random.Random(seed))
            warm_up = max(LEAST_WARM_UP, int(messages * WARM_UP))
            attack(vandal, warm_up)
            # The first rows cost memory once.
            before = read_status(folder, warm_up // 2, rows=WARM_ROWS)
            started_s = time.monotonic()
            attack(vandal, messages)
            wall_s = time.monotonic() - started_s
            after = read_status(folder, sum(before["counters"].values()))
            time.sleep(1.0)
            after = read_status(folder)
            vandal.close()
            for process in (actor, learner):
                assert process.poll() is None, (folder / "processes.log").read_text()[-2000:]
                process.terminate()
                assert process.wait(TIMEOUT_S) == 0
        finally:
            for process in (actor, learner):
                process.kill()
                process.wait()
    rows = count(folder, ["actor-0"])
    missing = [name for name in COUNTERS if not after["counters"].get(name)]
    growth = after["rss_kb"] / before["rss_kb"]
    return {
        "messages": messages, "messages_per_s": round(messages / wall_s),
        "rss_mb_before": before["rss_kb"] / 1e3, "rss_mb_after": after["rss_kb"] / 1e3,
        "rss_growth": round(growth, 4),
        "counters": after["counters"], "actor_rows": rows["rows_sent"],
        "broken": verdict(rows)
        + [f"never counted: {name}" for name in missing]
        + ([f"grew by a factor of {growth:.3f}"] if growth > LARGEST_GROWTH else []),
    }  # fmt: skip


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.system.fuzz")
    parser.add_argument("--messages", type=int, default=200_000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as folder:
        result = run(Path(folder), options.messages, options.seed)
    sys.stdout.write(json.dumps(result) + "\n")
    return 1 if result["broken"] else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
