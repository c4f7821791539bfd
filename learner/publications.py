"""When weights are published."""


class Timed:
    """See `Publications`: at most every `every_s` seconds."""

    def __init__(self, every_s: float) -> None:
        self._every_s, self._last_s = every_s, -every_s

    def due(self, now_s: float) -> bool:
        return now_s - self._last_s >= self._every_s

    def published(self, version: int, now_s: float) -> None:
        self._last_s = now_s
