"""Both ends of the wire in one process, and what goes over it."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import msgspec
import numpy as np

from actor.link.uplink import Uplink
from config.wire import WireConfig
from learner.intake.intake import Intake
from protocol.arrays import Columns, weights_digest
from protocol.experience import zeros
from protocol.messages import Progress, Weights
from tests.support.behaviour import residual_acts
from tests.support.spec import SPEC

PROGRESS = Progress(decisions=0, updates=0, version=0, evaluate=False, finished=False)
TIMEOUT_S = 20.0


def make_wire(ports: tuple[int, int], **changes: object) -> WireConfig:
    wire = WireConfig(
        host="127.0.0.1",
        experience_port=ports[0],
        weights_port=ports[1],
        insecure=False,
        keys_dir=None,
        credit_rows=64,
        heartbeat_s=0.1,
        lease_s=0.5,
        connect_timeout_s=TIMEOUT_S,
        max_header_bytes=65536,
        max_arrays=64,
        max_rank=4,
        max_message_bytes=1 << 24,
    )
    return msgspec.structs.replace(wire, **changes)


def make_columns(first: int, rows: int = 8) -> Columns:
    """Rows numbered from `first`; the last one is truncated."""
    columns = zeros(SPEC, rows, ends=1)
    number = np.arange(first, first + rows)
    at = number[:, None, None]
    columns["observation"][:], columns["action"][:] = at, at + 0.25
    columns["base_plan"][:], columns["residual"][:] = at + 0.5, -at
    columns["reward"][:], columns["episode"][:] = at[:, :, 0], number
    columns["frames"][:], columns["truncated"][-1] = SPEC.residual_every, True
    columns["final_row"][:], columns["final_observation"][:] = rows - 1, first + rows
    columns["final_base_plan"][:] = 1
    return columns


def make_weights(version: int, value: float = 0.0) -> Weights:
    columns = {"layer.weight": np.full((3, 4), value + version, np.float32)}
    behaviour = residual_acts(1.0, noise_std=0.1, noise_ladder=True)
    return Weights(
        version=version, digest=weights_digest(columns), behaviour=behaviour, final=False, columns=columns,
        base=None,
    )  # fmt: skip


@contextmanager
def learning(wire: WireConfig, queue_rows: int = 1000, **changes: Any) -> Iterator[Intake]:
    arguments = {"spec": SPEC, "queue_rows": queue_rows} | changes
    intake = Intake(wire, **arguments)
    intake.start()
    intake.announce(PROGRESS)
    try:
        yield intake
        intake.raise_if_failed()
    finally:
        intake.close()


@contextmanager
def acting(wire: WireConfig, actor_id: str = "actor-0", connect: bool = True, **changes) -> Iterator[Uplink]:
    arguments = {"role": "actor", "spec": SPEC, "stop": threading.Event()} | changes
    uplink = Uplink(wire, actor_id=actor_id, **arguments)
    try:
        if connect:
            uplink.connect()
        yield uplink
    finally:
        uplink.close()


def pump_until(fact: Callable[[], object], *uplinks: Uplink) -> None:
    """Keep the uplinks going until `fact` holds."""
    deadline_s = time.monotonic() + TIMEOUT_S
    while not fact():
        assert time.monotonic() < deadline_s, "never became true"
        for uplink in uplinks:
            uplink.pump()
        time.sleep(0.002)
