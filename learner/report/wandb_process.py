"""A program that sends the lines of a metrics.jsonl to Weights & Biases, until its standard input ends.

wandb waits for the network in calls that have no timeout, also when its process ends. A process of its own
can be killed; wandb's own process, wandb-core, ends with this one. It imports nothing of the project, so it
starts sooner. It says one line on standard output: `+` and wandb's folder of the run, or `-` and an error.

    wandb_process.py ARGUMENTS OFFSET STEP_KEY METRICS

ARGUMENTS are those of wandb.init as JSON, OFFSET is where METRICS begins for this process. Exit code 0: all
lines are sent, or kept where the mode is offline.
"""

import json
import os
import socket
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies

import wandb

# How often the file is looked at.
_LOOK_EVERY_S = 1.0
_CONNECT_TIMEOUT_S = 5.0
# How long it tries to finish if the learner, which would kill it sooner, was killed.
PATIENCE_S = 10.0

Point = dict[str, Any]


def end_of_input() -> threading.Event:
    """Set when standard input has ended. PATIENCE_S later this process ends too, whatever wandb does."""
    ended = threading.Event()

    def watch() -> None:
        sys.stdin.read()
        ended.set()
        time.sleep(PATIENCE_S)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
    return ended


def points_until(ended: threading.Event, path: Path, offset: int) -> Iterator[Point]:
    """What is written to `path` behind `offset`, until `ended` is set and all lines are read."""
    with path.open("rb") as file:
        file.seek(offset)
        unfinished, last_look = b"", False
        while not last_look:
            last_look = ended.wait(_LOOK_EVERY_S)
            *lines, unfinished = (unfinished + file.read()).split(b"\n")
            yield from map(json.loads, lines)


def send(run: Any, points: Iterator[Point], step_key: str) -> None:
    """Log the numbers of each point. wandb refuses steps that go back, as those of a late evaluation do."""
    step = 0
    for point in points:
        step = max(step, int(point.get(step_key) or 0))
        run.log({key: value for key, value in point.items() if isinstance(value, int | float)}, step=step)


def require_server() -> None:
    """Raise OSError if nobody listens where W&B should be: wandb would try for minutes."""
    server = urlsplit(wandb.setup().settings.base_url)
    if not getproxies():
        port = server.port or (443 if server.scheme == "https" else 80)
        socket.create_connection((server.hostname or "", port), _CONNECT_TIMEOUT_S).close()


def start(arguments: dict[str, Any], say: Any) -> Any:
    """The run; one line to `say` about it. Returns None if wandb refuses."""
    try:
        if arguments["mode"] == "online":
            require_server()
        run = wandb.init(**arguments, settings=wandb.Settings(console="off", silent=True))
    except Exception as error:  # wandb raises its own errors, pydantic's, and those of the system
        print("-", type(error).__name__, *str(error).split(), file=say, flush=True)
        return None
    print("+", Path(run.dir).parent, file=say, flush=True)
    return run


def main(arguments: str, offset: str, step_key: str, path: str) -> int:
    ended = end_of_input()
    say = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever wandb prints
    run = start(json.loads(arguments), say)
    if run is None:
        return 1
    send(run, points_until(ended, Path(path), int(offset)), step_key)
    run.finish()
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
