"""What an actor says while it waits for the learner, and when it gives up."""

import logging
import time
from collections.abc import Callable

from config.wire import WireConfig

log = logging.getLogger(__name__)

_SAY_EVERY_S = 5.0


class WaitLog:
    """Logs regularly what a wait waits for."""

    def __init__(self, describe: Callable[[], str]) -> None:
        self._describe = describe
        self._started_s = self._said_s = time.monotonic()

    def say(self) -> None:
        """Log a line, unless one was logged just now."""
        now_s = time.monotonic()
        if now_s - self._said_s >= _SAY_EVERY_S:
            self._said_s = now_s
            waited_s = now_s - self._started_s
            since = time.strftime("%H:%M:%S", time.localtime(time.time() - waited_s))
            log.info("%s, since %s (%.0f s)", self._describe(), since, waited_s)


class Silence:
    """Says that the learner stopped answering and that it answers again."""

    def __init__(self, wire: WireConfig, where: str) -> None:
        self._wire, self._where = wire, where
        self._said = False

    def is_bearable(self, silent_s: float) -> bool:
        """Whether to go on calling a learner that was silent for so long."""
        absent = silent_s > self._wire.lease_s
        if absent and not self._said:
            log.warning(
                "no word from the learner at %s for %.0f s: calling it for up to %.0f s",
                self._where, silent_s, self._wire.connect_timeout_s,
            )  # fmt: skip
        elif self._said and not absent:
            log.info("the learner at %s answers", self._where)
        self._said = absent
        return silent_s <= self._wire.connect_timeout_s
