"""What a run measures: a line in metrics.jsonl for each log step, and a point on each tracker."""

import json
import math
import threading
from collections.abc import Mapping
from typing import Any

from config.files import cut_torn_line
from learner.tracking.trackers import Tracked, start_mirrors

Value = float | int | str | None


class Metrics:
    """Writes `folder/metrics.jsonl`, one flushed line a point, and mirrors it to trackers.

    Each runs in a process of its own and may fail without harm: that is said once. A context manager: what
    they have is always sent, or kept where that takes too long.

    Args:
        tracked: whose folder is made if missing; `resume`: go on in the file, instead of anew.
    """

    def __init__(self, tracked: Tracked) -> None:
        tracked.folder.mkdir(parents=True, exist_ok=True)
        path = tracked.folder / "metrics.jsonl"
        if tracked.resume:
            cut_torn_line(path)
        self._axis = tracked.axis
        self._file = path.open("a" if tracked.resume else "w", encoding="utf-8")
        self._mirrors = start_mirrors(tracked)

    def log(self, point: Mapping[str, Value | dict[str, Any]]) -> None:
        """Keep one point. NaN and infinity become null: JSON has neither."""
        plain = {key: value if isinstance(value, dict) else json_value(value) for key, value in point.items()}
        self._file.write(json.dumps(plain, allow_nan=False) + "\n")
        self._file.flush()
        if plain.get(self._axis):
            for mirror in self._mirrors:
                mirror.begin()

    def end(self, *, hurried: bool) -> None:
        """There are no more points: trackers may finish while the rest of the run ends."""
        for mirror in self._mirrors:
            mirror.end(hurried=hurried)

    def close(self, stop: threading.Event | None = None) -> None:
        """Finish all; may be called twice. `stop`: once it is set, trackers have less time."""
        self._file.close()
        for mirror in self._mirrors:
            mirror.end()
        for mirror in self._mirrors:
            mirror.close(stop)

    def __enter__(self) -> "Metrics":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def json_value(value: Any) -> Value:
    """A number of numpy or torch as Python's own; what JSON cannot say as None."""
    if value is None or isinstance(value, str | int):
        return value
    number = float(value)
    return number if math.isfinite(number) else None
