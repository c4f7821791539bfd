"""A program that writes points as TensorBoard's event files: see following.py."""

import sys
import time

from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.event_file_writer import (
    EventFileWriter,
)

from learner.tracking.following import Job, Point, numbers_of, serve


class TensorBoard:
    """Event files in a folder; every process that goes on with the run adds one."""

    def __init__(self, job: Job) -> None:
        self.place = job.arguments["logdir"]
        self._axis = job.axis
        self._writer = EventFileWriter(self.place)

    def log(self, number: int, point: Point) -> None:
        step = int(point.get(self._axis) or 0)
        values = [Summary.Value(tag=key, simple_value=value) for key, value in numbers_of(point).items()]
        self._writer.add_event(Event(wall_time=time.time(), step=step, summary=Summary(value=values)))
        self._writer.flush()

    def finish(self) -> None:
        self._writer.close()


if __name__ == "__main__":
    sys.exit(serve(TensorBoard))
