"""Asks a learner which run it trains."""

import secrets
import threading
from typing import Any

from actor.link.connection import Connection
from config.wire import WireConfig
from protocol.messages import PROTOCOL_VERSION, Hello


def ask_run(wire: WireConfig, actor_id: str, stop: threading.Event) -> dict[str, Any] | None:
    """What the learner says that its actors must share, unchecked; None: `stop` was set first.
    Raises UplinkError: refused, another protocol version, or no learner within wire.connect_timeout_s."""
    hello = Hello(
        protocol_version=PROTOCOL_VERSION,
        actor_id=actor_id,
        session=secrets.randbits(63),
        role="actor",
        first_sequence=0,
        spec=None,
    )
    connection = Connection(wire, hello, None)
    try:
        connection.wait_until(lambda: connection.session.run is not None, stop)
        return connection.session.run
    finally:
        connection.close()
