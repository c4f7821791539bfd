"""Waits for what the processes of a run do."""

import json
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

TIMEOUT_S = 90.0


def wait_for(
    fact: Callable[[], Any], *processes: "subprocess.Popen[Any]", timeout_s: float = TIMEOUT_S
) -> Any:
    """What `fact` returns once it is true; fails if one of `processes` ends before."""
    deadline_s = time.monotonic() + timeout_s
    while not (found := fact()):
        assert time.monotonic() < deadline_s, "never became true"
        for process in processes:
            assert process.poll() is None, process.communicate()[0]
        time.sleep(0.05)
    return found


def points(run_dir: Path) -> list[dict[str, Any]]:
    """What a learner has measured so far, oldest first."""
    path = run_dir / "metrics.jsonl"
    lines = path.read_text().splitlines(keepends=True) if path.exists() else []
    return [json.loads(line) for line in lines if line.endswith("\n")]


def progress(run_dir: Path) -> list[dict[str, Any]]:
    """Those of `points` that say how far the run is. The others are of evaluations, which say how far it was
    when the weights that they measured were published."""
    return [point for point in points(run_dir) if "updates_due" in point]
