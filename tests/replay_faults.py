"""A process that writes a replay and dies at a chosen step; what must hold afterwards.

python -m tests.replay_faults [POINTS] dies at so many points (200) and says what it found.
"""

from __future__ import annotations

import collections
import errno
import json
import logging
import multiprocessing
import os
import random
import resource
import shutil
import signal
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import NamedTuple
from unittest import mock

import numpy as np

from learner.replay import generations, shards
from learner.replay.lerobot_store import LeRobotStore
from learner.replay.verify import verify
from tests.identifiable import ACT, OBS, Truth, in_messages, make_stream

REPO = "tests/faults"
FULL = 7  # exit code of a process that met a full disk, said so, and ended


class Fault(NamedTuple):
    """How a process ends: at which step (counted from 1), or after how long, or with how large a file."""

    kind: str  # kill | torn | full | late | limit
    at: float

    def __str__(self) -> str:
        return f"{self.kind}-{self.at:g}"


def journal() -> tuple[list[Truth], list[tuple[str, int, dict[str, np.ndarray]]]]:
    """What was received, in order: two actors, one of them restarted, eleven commits and more."""
    rng = random.Random(0)
    truths, messages = [], []
    for number, (actor, session) in enumerate((("peg-a", 11), ("peg-b", 12), ("peg-a", 13))):
        ended, rows = make_stream(actor, 100 * number, [rng.randint(1, 9) for _ in range(12)], sub_envs=3)
        truths += ended
        messages += [(actor, session, columns) for columns in in_messages(rows, 7)]
    return truths, messages


def write(folder: Path) -> None:
    """All of the journal, a commit a message; what was there already is passed over."""
    store = LeRobotStore(
        folder, repo_id=REPO, observation_dim=OBS, action_dim=ACT, fps=20, robot_type="panda",
        task="PickCube-v1", queue_episodes=4, flush_s=1e-9,
    )  # fmt: skip
    # All commits become two shards or more at the end, one of them under another name alone.
    with (
        mock.patch.object(shards, "FULL_BYTES", 80_000),
        mock.patch.object(shards, "SMALL_BYTES", 20_000),
        store,
    ):
        for actor, session, columns in journal()[1]:
            store.add(actor, session, columns)
            while store.pending and store._error is None:
                time.sleep(1e-4)


def steps(folder: Path) -> list[str]:
    """The names of all steps that could be interrupted, in order."""
    seen: list[str] = []
    generations.reached = lambda operation, path: seen.append(operation)
    try:
        write(folder)
    finally:
        generations.reached = lambda operation, path: None
    return seen


def die(folder: Path, fault: Fault) -> None:
    """In a process of its own: write until the fault."""
    count = 0

    def reached(operation: str, path: Path) -> None:
        nonlocal count
        count += 1
        if fault.kind not in ("kill", "torn", "full") or count < fault.at:
            return
        if fault.kind == "full":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        if fault.kind == "torn" and operation in ("write", "close"):
            path.open("ab").write(b"PAR1 and then the power went")
        os.kill(os.getpid(), signal.SIGKILL)

    generations.reached = reached
    if fault.kind == "late":
        threading.Timer(fault.at, os.kill, (os.getpid(), signal.SIGKILL)).start()
    if fault.kind == "limit":
        resource.setrlimit(resource.RLIMIT_FSIZE, (int(fault.at), int(fault.at)))
    try:
        write(folder)
    except RuntimeError as error:
        os._exit(FULL if "writing the replay in" in str(error) else 1)


def check(folder: Path) -> int:
    """What must hold at every moment; returns the committed episodes."""
    if not folder.exists():
        return 0
    from lerobot.datasets.lerobot_dataset import LeRobotDataset

    assert verify(folder) == []
    dataset = LeRobotDataset(REPO, root=folder, delta_timestamps={"action": [0.0, 0.05]})
    info = json.loads((folder / "meta/info.json").read_text())
    assert (dataset.num_episodes, len(dataset)) == (info["total_episodes"], info["total_frames"])
    assert len(dataset.meta.episodes) == dataset.num_episodes
    assert dataset[len(dataset) - 1]["action_is_pad"].tolist() == [False, True]
    return dataset.num_episodes


def check_rows_are_there_once(folder: Path) -> None:
    """Every row of the journal, and nothing else."""
    import pyarrow.dataset

    seen = pyarrow.dataset.dataset(folder / "data").to_table(columns=["observation.state", "next.truncated"])
    first = [row[0] for row in seen["observation.state"].to_pylist()]
    expected = [float(x) for truth in journal()[0] for x in truth.frames["observation"][:, 0]]
    assert collections.Counter(first) == collections.Counter(expected)
    ends = sum(not truth.terminated for truth in journal()[0])
    assert sum(seen["next.truncated"].to_pylist()) == ends


def context() -> multiprocessing.context.ForkServerContext:
    """Processes that are forked from one that has imported all this and started no thread."""
    made = multiprocessing.get_context("forkserver")
    made.set_forkserver_preload(["tests.replay_faults"])
    return made


def survive(folder: Path, fault: Fault, processes: multiprocessing.context.ForkServerContext) -> str:
    """One fault, and all that must hold after it; says how it ended."""
    process = processes.Process(target=die, args=(folder, fault))
    process.start()
    process.join()
    ended = {-signal.SIGKILL: "killed", FULL: "disk full", 0: "written"}[process.exitcode]
    if fault.kind in ("kill", "torn"):
        assert ended == "killed"
    if fault.kind == "full":
        assert ended == "disk full"
    before = check(folder)
    write(folder)
    assert check(folder) == len(journal()[0]) >= before
    check_rows_are_there_once(folder)
    left = {path.name for path in folder.parent.iterdir() if path.name.startswith(f".{folder.name}.")}
    assert not left
    return ended


def make_faults(count: int, total: int, seed: int = 0) -> list[Fault]:
    """Of all kinds: most at steps spread over all `total`, some after a random time."""
    rng = random.Random(seed)
    kinds = ("kill", "kill", "full", "torn")
    points = count * 4 // 5
    counted = [Fault(kinds[i % len(kinds)], 1 + i * (total - 1) // max(1, points - 1)) for i in range(points)]
    others = [Fault("late", round(rng.uniform(0.0, 0.5), 4)) for _ in range((count - len(counted)) // 2)]
    limits = [Fault("limit", rng.randint(100, 40000)) for _ in range(count - len(counted) - len(others))]
    return [*counted, *others, *limits]


def main(count: int) -> None:
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    logging.getLogger("learner").setLevel(logging.WARNING)
    os.environ["HF_HUB_OFFLINE"] = "1"
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as place:
        os.environ["HF_DATASETS_CACHE"] = f"{place}/cache"
        names = steps(Path(place) / "dry")
        outcomes = collections.Counter()
        for fault in make_faults(count, len(names)):
            folder = Path(place) / str(fault)
            try:
                outcomes[survive(folder, fault, context())] += 1
            except AssertionError:
                logging.error("%s broke it", fault)
                raise
            shutil.rmtree(folder)
    logging.info(
        "%d faults at %d steps (%s), none broke it: %s; %.0f s",
        count, len(names), dict(collections.Counter(names)), dict(outcomes), time.monotonic() - started,
    )  # fmt: skip


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 200)
