"""Delivers what killed processes of an actor left in its spool, each in its own session."""

import logging
import threading
from pathlib import Path

import msgspec

from actor.link.connection import Connection, RefusedError
from actor.link.spool import Spool, find_leftovers
from config.wire import WireConfig
from protocol.arrays import Limits
from protocol.messages import Hello

log = logging.getLogger(__name__)


def deliver_leftovers(wire: WireConfig, hello: Hello, folder: Path, stop: threading.Event) -> list[Spool]:
    """Deliver what earlier processes of this actor left, oldest first.

    Args:
        hello: of this process.

    Returns:
        The spools whose sessions the learner refused, still open.
    """
    return [
        spool for spool in find_leftovers(folder, hello.actor_id) if not _deliver(wire, hello, spool, stop)
    ]


def _deliver(wire: WireConfig, hello: Hello, spool: Spool, stop: threading.Event) -> bool:
    """False if the learner refuses the session."""
    messages = spool.load(msgspec.convert(wire, Limits, from_attributes=True))
    earlier = msgspec.structs.replace(hello, session=spool.session)
    connection = Connection(wire, earlier, spool, messages)
    session = connection.session
    log.info("an earlier %s left %d messages", hello.actor_id, session.undurable)
    try:
        connection.wait_until(lambda: session.undurable == 0 or connection.run_is_over, stop)
    except RefusedError as error:
        log.warning("%d messages of an earlier %s are lost: %s", session.undurable, hello.actor_id, error)
        return False
    finally:
        connection.close()
    if connection.run_is_over:
        spool.discard()
    spool.close()
    return True
