"""A program that sends points to trackio: see following.py.

trackio keeps them in a database of its own, for all runs, in TRACKIO_DIR; or sends them to TRACKIO_SPACE_ID
or TRACKIO_SERVER_URL.
"""

import sys

import trackio

from learner.tracking.following import Job, Point, numbers_of, serve


class Trackio:
    """One run of a project."""

    def __init__(self, job: Job) -> None:
        self.place = job.arguments["project"]
        self._axis = job.axis
        trackio.init(**job.arguments)

    def log(self, number: int, point: Point) -> None:
        trackio.log(numbers_of(point), step=int(point.get(self._axis) or 0))

    def finish(self) -> None:
        trackio.finish()


if __name__ == "__main__":
    sys.exit(serve(Trackio))
