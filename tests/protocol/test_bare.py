"""docs/reference/protocol.md is enough to write an actor: one that knows pyzmq, msgpack and that page alone.

Nothing of `protocol` or `actor` is imported by the client below; the learner is the real one.
"""

import hashlib
import struct
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgpack
import msgspec
import numpy as np
import pytest
import zmq

from config.shared import describe_run
from learner.intake.intake import Intake
from learner.replay.journal.journal import Journal
from protocol.session.pieces import Blob
from tests.support.helpers import make_config
from tests.support.journals import LIMITS, SETTINGS
from tests.support.spec import SPEC
from tests.support.wire import TIMEOUT_S, learning, make_weights, make_wire

VERSION = 7


class BareClient:
    """A client as the page describes it, as plainly as can be."""

    def __init__(self, experience_port: int, weights_port: int) -> None:
        self.context = zmq.Context()
        self.dealer = self.context.socket(zmq.DEALER)
        self.dealer.connect(f"tcp://127.0.0.1:{experience_port}")
        self.subscriber = self.context.socket(zmq.SUB)
        self.subscriber.setsockopt(zmq.SUBSCRIBE, b"\x92")
        self.subscriber.connect(f"tcp://127.0.0.1:{weights_port}")
        self.session = 77

    def say(self, kind: str, columns: dict[str, tuple[str, list[int], bytes]] | None = None, **fields: Any):
        message: dict[str, Any] = {"kind": kind, **fields}
        frames: list[bytes] = []
        if columns is not None:
            message["columns"] = {
                name: {"dtype": dtype, "shape": shape} for name, (dtype, shape, _) in columns.items()
            }
            frames = [data for _, _, data in columns.values()]
        self.dealer.send_multipart([msgpack.packb([VERSION, message]), *frames])

    def hear(self, kind: str) -> tuple[dict[str, Any], list[bytes]]:
        """The next answer of a kind; others are passed over."""
        deadline_s = time.monotonic() + TIMEOUT_S
        while time.monotonic() < deadline_s:
            if self.dealer.poll(100):
                header, *frames = self.dealer.recv_multipart()
                version, message = msgpack.unpackb(header)
                assert version == VERSION
                if message["kind"] == kind:
                    return message, frames
        raise TimeoutError(kind)

    def ask(self) -> None:
        self.say(
            "hello", protocol_version=VERSION, actor_id="bare", session=self.session, role="actor",
            first_sequence=0, spec=None,
        )  # fmt: skip

    def hello(self, actor_id: str = "bare", first_sequence: int = 0, **spec: Any) -> None:
        fields = {
            "env_id": "PickCube-v1", "control_mode": "pd_ee_delta_pose", "observation_dim": 5,
            "action_dim": 3, "act_horizon": 8, "residual_every": 4, "base_fingerprint": "abc",
            "residual_scale": 0.1, "policy": "deterministic obs [256, 256]",
        }  # fmt: skip
        self.say(
            "hello", protocol_version=VERSION, actor_id=actor_id, session=self.session, role="actor",
            first_sequence=first_sequence, spec=fields | spec,
        )  # fmt: skip

    def experience(self, sequence: int, episode: int) -> None:
        """One row, each array in a frame of its own, that ends an episode after one frame, by truncation."""
        k, o, a = 4, 5, 3

        def floats(shape: list[int], value: float) -> tuple[str, list[int], bytes]:
            count = int(np.prod(shape))
            return "f4", shape, struct.pack(f"<{count}f", *[value] * count)

        self.say(
            "experience",
            {
                "observation": floats([1, k, o], 1.5), "action": floats([1, k, a], 0.25),
                "base_plan": floats([1, k, a], 0.25), "residual": floats([1, k, a], 0.0),
                "reward": floats([1, k], 0.0), "success": ("b1", [1, k], b"\0\0\0\0"),
                "frames": ("i4", [1], struct.pack("<i", 1)), "terminated": ("b1", [1], b"\0"),
                "truncated": ("b1", [1], b"\1"), "sub_env": ("i4", [1], struct.pack("<i", 0)),
                "episode": ("i8", [1], struct.pack("<q", episode)), "decision": ("i4", [1], b"\0" * 4),
                "weights_version": ("i8", [1], b"\0" * 8), "final_row": ("i4", [1], b"\0" * 4),
                "final_observation": floats([1, o], 2.5), "final_base_plan": floats([1, k, a], 0.0),
            },
            session=self.session, sequence=sequence,
        )  # fmt: skip

    def close(self) -> None:
        self.context.destroy(linger=0)


@pytest.fixture
def client(free_ports: tuple[int, int]) -> Iterator[BareClient]:
    made = BareClient(*free_ports)
    yield made
    made.close()


def test_a_bare_client_sends_rows_that_become_durable(
    client: BareClient, free_ports: tuple[int, int], tmp_path: Path
) -> None:
    journal = Journal(tmp_path, SETTINGS, SPEC, LIMITS)
    assert list(journal.replay()) == []
    intake = Intake(make_wire(free_ports), SPEC, queue_rows=100, journal=journal)
    intake.start()
    try:
        client.hello()
        welcome, _ = client.hear("welcome")
        assert (welcome["session"], welcome["next_sequence"], welcome["durable_sequence"]) == (77, 0, 0)
        assert welcome["credit_rows"] > 0
        for sequence in range(3):
            client.experience(sequence, episode=sequence)
        client.experience(1, episode=1)  # a repetition
        rows: list = []
        while len(rows) < 3:
            rows += intake.drain(timeout_s=TIMEOUT_S)
        ack = welcome
        while ack["durable_sequence"] < 3:
            ack, _ = client.hear("ack")
            assert ack["durable_sequence"] <= ack["next_sequence"] <= 3
        assert [int(row.columns["episode"][0]) for row in rows] == [0, 1, 2]
        assert intake.counters()["duplicates"] == 1
        client.experience(5, episode=5)  # a gap: the learner says from where to send again
        again, _ = client.hear("welcome")
        assert again["next_sequence"] == 3
    finally:
        intake.close()
        journal.close()


def test_a_bare_client_gets_weights_both_ways_and_can_check_them(
    client: BareClient, free_ports: tuple[int, int]
) -> None:
    with learning(make_wire(free_ports)) as intake:
        client.hello()
        client.hear("welcome")
        intake.publish(make_weights(1))
        client.say("weights_request", session=client.session)
        asked, frames = client.hear("weights")
        check_weights(asked, frames)
        deadline_s, version = time.monotonic() + TIMEOUT_S, 1
        while not client.subscriber.poll(50):
            assert time.monotonic() < deadline_s
            version += 1
            intake.publish(make_weights(version))
        header, *frames = client.subscriber.recv_multipart()
        check_weights(msgpack.unpackb(header)[1], frames)


SIZES = {"f4": 4, "f8": 8, "i4": 4, "i8": 8, "u1": 1, "u2": 2, "b1": 1}


def split_frames(columns: dict[str, dict[str, Any]], frames: list[bytes]) -> dict[str, bytes]:
    """The bytes of each array."""
    arrays: dict[str, bytes] = {}
    waiting = iter(frames)
    frame, end = b"", 0
    for name, description in columns.items():
        if not description.get("behind", False):
            assert end == len(frame)
            frame, start = next(waiting), 0
        else:
            start = (end + 7) // 8 * 8
        end = start + SIZES[description["dtype"]] * int(np.prod(description["shape"]))
        arrays[name] = frame[start:end]
    assert end == len(frame) and next(waiting, None) is None
    return arrays


def check_weights(message: dict[str, Any], frames: list[bytes]) -> None:
    arrays = split_frames(message["columns"], frames)
    digest = hashlib.sha256()
    for name in sorted(arrays):
        digest.update(name.encode() + b"\0" + arrays[name])
    assert digest.hexdigest() == message["digest"]
    assert {"mask_probability", "uniform", "noise_std", "decisions"} <= message["behaviour"].keys()


def test_a_bare_client_fetches_a_base_piece_by_piece(client: BareClient, free_ports: tuple[int, int]) -> None:
    content = np.random.default_rng(0).bytes(1_200_000)
    with learning(make_wire(free_ports)) as intake:
        client.hello()
        client.hear("welcome")
        intake.offer_base(blob := Blob(content))
        intake.publish(msgspec.structs.replace(make_weights(1), base=blob.announced(1)))
        client.say("weights_request", session=client.session)
        base = client.hear("weights")[0]["base"]
        got = b""
        for piece in range(-(-base["bytes"] // base["piece_bytes"])):
            topic = f"base/{base['digest']}/{piece}".encode()
            client.subscriber.setsockopt(zmq.SUBSCRIBE, topic)
            frames: list[bytes] = []
            while not frames or frames[0] != topic:
                assert client.subscriber.poll(1000 * TIMEOUT_S)
                frames = client.subscriber.recv_multipart()
            client.subscriber.setsockopt(zmq.UNSUBSCRIBE, topic)
            got += frames[1]
    assert got == content and hashlib.sha256(got).hexdigest() == base["digest"]


def test_a_bare_client_hears_progress_and_refusals(client: BareClient, free_ports: tuple[int, int]) -> None:
    with learning(make_wire(free_ports)):
        client.hello(act_horizon=99)
        refused, _ = client.hear("refused")
        assert "act_horizon 99" in refused["reason"]
        client.hello()
        client.hear("welcome")
        client.say("heartbeat", session=client.session, figures={"frames": 1.0})
        progress, _ = client.hear("progress")
        assert progress.keys() == {"kind", "decisions", "updates", "version", "evaluate", "finished"}


def test_a_bare_client_learns_which_run_it_is(
    client: BareClient, free_ports: tuple[int, int], repository: Path
) -> None:
    config = make_config()
    with learning(make_wire(free_ports), run=describe_run(config, "abc")):
        client.ask()
        welcome, _ = client.hear("welcome")
        assert welcome["credit_rows"] == 0
        run = welcome["run"]
        page = (repository / "docs/reference/protocol.md").read_text()
        assert [key for key in run if f"`{key}`" not in page] == []
        assert (run["base_fingerprint"], run["task"]["env_id"]) == ("abc", config.task.env_id)
        client.hello()
        assert client.hear("welcome")[0]["run"] is None
