"""Ends the processes that a killed launcher has left: every group that it named and did not take back.

Reads lines from the launcher: `+GROUP`, `-GROUP`. The end of its input is the launcher's end. The kernel has
asked the children to end by then (SIGTERM, see processes.py); this makes sure of it, workers included.
A program of its own that imports nothing of the project: it starts at once and costs next to nothing.
"""

import contextlib
import os
import signal
import sys
import time

# How long a child may take to end in order: a learner writes its last episodes.
PATIENCE_S = 10.0


def read_groups() -> set[int]:
    """Until the launcher's end; the groups that it left."""
    groups: set[int] = set()
    for line in sys.stdin:
        change, group = line[0], int(line[1:])
        (groups.add if change == "+" else groups.discard)(group)
    return groups


def is_running(process: int) -> bool:
    """Whether it lives; one that only waits to be buried does not."""
    try:
        with open(f"/proc/{process}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def end(groups: set[int]) -> None:
    """Wait for each group's leader, not for ever; then nothing of its group stays."""
    deadline_s = time.monotonic() + PATIENCE_S
    while groups:
        late = time.monotonic() >= deadline_s
        for group in [group for group in groups if late or not is_running(group)]:
            groups.remove(group)
            with contextlib.suppress(ProcessLookupError):  # all gone
                os.killpg(group, signal.SIGKILL)
        time.sleep(0.1)


if __name__ == "__main__":
    # It outlives whoever ends the launcher.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    end(read_groups())
