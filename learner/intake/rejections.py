"""Counts what happened to messages, and logs those that were rejected."""

import logging
from collections import Counter

log = logging.getLogger(__name__)

_LOG_EVERY_S = 5.0


class Rejections:
    """Counts all, and logs at most one line of a kind in _LOG_EVERY_S."""

    def __init__(self) -> None:
        self.counters: Counter[str] = Counter()
        self._logged_s: dict[str, float] = {}

    def reject(self, kind: str, who: str, why: str, now_s: float) -> None:
        """Count a rejected message, and log it unless one of its kind was logged just now."""
        self.counters[kind] += 1
        last_s = self._logged_s.get(kind)
        if last_s is None or now_s - last_s >= _LOG_EVERY_S:
            self._logged_s[kind] = now_s
            log.warning("%s (%d so far) from %s: %s", kind, self.counters[kind], who, why)
