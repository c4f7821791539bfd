"""What the processes of all trackers do: follow a file of points until their standard input ends.

    python -P -m learner.tracking.<tracker>_process JOB

JOB is a `Job` as JSON. A tracker may wait for a network in calls that have no timeout, also when its process
ends: a process of its own can be killed. Only the standard library is imported here, so it starts soon. It
says one line on standard output: `+` and where the tracker keeps the run, or `-` and an error. Exit code 0:
it has everything.
"""

import json
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, Protocol

# How often the file is looked at.
_LOOK_EVERY_S = 1.0
Point = dict[str, Any]


class Job(NamedTuple):
    """What a process of a tracker is told."""

    arguments: dict[str, Any]
    """Of the tracker's own `init`."""
    points: str
    """The file: a JSON object a line."""
    offset: int
    """Where it begins for this process; what is before was written by an earlier one."""
    axis: str
    """The figure of a point over which the others are drawn."""
    number: int | None
    """Of the first line; None: the lines before it are counted."""
    patience_s: float
    """How long the tracker may try to finish if the learner, which would kill it sooner, was killed."""


class Sink(Protocol):
    """A tracker that has started."""

    place: str
    """Where it keeps the run."""

    def log(self, number: int, point: Point) -> None:
        """`number`: of the line, over all processes that wrote the file; never twice the same."""
        ...

    def finish(self) -> None: ...


def serve(start: Callable[[Job], Sink]) -> int:
    """The main function of a tracker's process; returns its exit code."""
    job = Job(**json.loads(sys.argv[1]))
    ended = end_of_input(job.patience_s)
    say = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever the tracker prints
    try:
        sink = start(job)
    except Exception as error:  # trackers raise their own errors, pydantic's, and those of the system
        print("-", type(error).__name__, *str(error).split(), file=say, flush=True)
        return 1
    print("+", sink.place, file=say, flush=True)
    for number, point in points_until(ended, job):
        sink.log(number, point)
    sink.finish()
    return 0


def end_of_input(patience_s: float) -> threading.Event:
    """Set when standard input has ended. So much later this process ends too, whatever its tracker does."""
    ended = threading.Event()

    def watch() -> None:
        sys.stdin.read()
        ended.set()
        time.sleep(patience_s)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
    return ended


def points_until(ended: threading.Event, job: Job) -> Iterator[tuple[int, Point]]:
    """Number and content of each line of the job, until `ended` is set and all lines are read."""
    with open(job.points, "rb") as file:
        before = file.read(job.offset)
        number = before.count(b"\n") if job.number is None else job.number
        unfinished, last_look = b"", False
        while not last_look:
            last_look = ended.wait(_LOOK_EVERY_S)
            *lines, unfinished = (unfinished + file.read()).split(b"\n")
            for line in lines:
                yield number, json.loads(line)
                number += 1


def numbers_of(point: Point) -> dict[str, int | float]:
    """What of a point can be drawn."""
    return {key: value for key, value in point.items() if isinstance(value, int | float)}
