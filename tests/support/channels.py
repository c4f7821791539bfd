"""Both ends of a channel in one process."""

import contextlib
import secrets
import time
from pathlib import Path

import msgspec

from protocol.arrays import Limits
from protocol.channel.addresses import ChannelError
from protocol.channel.client import ClientChannel
from protocol.channel.learner import LearnerChannel
from protocol.channel.sockets import HEADER_START, Endpoint

LIMITS = Limits(max_header_bytes=4096, max_arrays=8, max_rank=4, max_message_bytes=1 << 20)


def endpoint(ports: tuple[int, int], keys_dir: Path | None, **changes: object) -> Endpoint:
    made = Endpoint(
        host="127.0.0.1",
        experience_port=ports[0],
        weights_port=ports[1],
        insecure=False,
        keys_dir=None if keys_dir is None else str(keys_dir),
        lease_s=2.0,
    )
    return msgspec.structs.replace(made, **changes)


def talk(learner: LearnerChannel, client: ClientChannel, timeout_s: float) -> tuple[bool, bool]:
    """Whether a word of now reached the learner, and one the client, before the timeout."""
    deadline_s = time.monotonic() + timeout_s
    word = HEADER_START + secrets.token_bytes(8)  # what is still on its way from earlier talk does not count
    heard = published = False
    while time.monotonic() < deadline_s and not (heard and published):
        with contextlib.suppress(ChannelError):  # ZeroMQ gives up on who was turned away
            client.send([word])
        learner.publish([word])
        learner.wait(0.02)
        for arrival in learner.receive(most=8):
            heard = heard or arrival.frames == [word]
        published = published or client.receive_published()[0] == [word]
    return heard, published
