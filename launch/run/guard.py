"""Ends the process groups that a killed launcher leaves running.

The launcher writes a line for each group that starts, `+GROUP`, and for each that has ended, `-GROUP`. When
this input ends, the launcher has ended. The kernel has sent a signal to its children by then (processes.py).
This program waits for them, for as many seconds as its first argument says, then kills what is left of their
groups, workers included. At the end it removes the folders that are its other arguments. It imports nothing
of the project, so it starts at once and needs little memory.
"""

import contextlib
import os
import shutil
import signal
import sys
import time

# How long a child may take to end by itself: a learner writes its last episodes.
PATIENCE_S = 10.0


def read_groups() -> set[int]:
    """Read until the launcher has ended; returns the groups that still run."""
    groups: set[int] = set()
    for line in sys.stdin:
        change, group = line[0], int(line[1:])
        (groups.add if change == "+" else groups.discard)(group)
    return groups


def is_running(process: int) -> bool:
    """Whether `process` runs; a zombie, which has ended and waits for its parent, does not."""
    try:
        with open(f"/proc/{process}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def end(groups: set[int], patience_s: float) -> None:
    """Wait for the leader of each group, for `patience_s` at most; then kill the rest of its group."""
    deadline_s = time.monotonic() + patience_s
    while groups:
        late = time.monotonic() >= deadline_s
        for group in [group for group in groups if late or not is_running(group)]:
            groups.remove(group)
            with contextlib.suppress(ProcessLookupError):  # the whole group has ended
                os.killpg(group, signal.SIGKILL)
        time.sleep(0.1)


if __name__ == "__main__":
    # A signal that ends the launcher's terminal or session must not end this program.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    end(read_groups(), float(sys.argv[1]))
    for folder in sys.argv[2:]:
        shutil.rmtree(folder, ignore_errors=True)
