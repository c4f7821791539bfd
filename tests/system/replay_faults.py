"""A process that receives experience and dies at a chosen step of writing; what must hold afterwards.

A step is a file operation on the dataset, or on the files beside it, that Python's audit events tell of.

    python -m tests.system.replay_faults [POINTS] [--images video|image] [--max-frames N] [--successes]

dies at POINTS points (200) and reports what it found. With --images rows have those of a camera; with
--max-frames the dataset has this budget, and its oldest episodes are dropped; with --successes failed
episodes are left out.
"""

import argparse
import collections
import contextlib
import errno
import itertools
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
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import msgspec
import numpy as np

from config.learner import JournalConfig
from learner.replay.dataset import compaction as shards
from learner.replay.dataset.compaction import Budget
from learner.replay.dataset.keep import CollectionLimits, Keep
from learner.replay.dataset.store import LeRobotStore
from learner.replay.tools.verify import verify
from protocol.messages import Columns
from tests.support.identifiable import ACT, OBS, Truth, in_messages, make_stream
from tests.support.journals import Writer as JournalWriter
from tests.support.spec import SPEC

REPO = "tests/faults"
FULL = 7  # exit code of a process that met a full disk, said so, and ended
CAMERA, SIZE = "top", (16, 32)
JOURNAL = JournalConfig(
    sync_s=1e-4, sync_bytes=1, segment_bytes=8192, spare_segments=2, pending_bytes=1 << 20
)


class Scene(NamedTuple):
    """What is written."""

    images: str | None = None
    """"video" or "image"; None without a camera."""
    max_frames: int | None = None
    """The dataset's budget."""
    successes_alone: bool = False
    """Failed episodes are left out."""


PLAIN = Scene()


class Fault(NamedTuple):
    """How a process ends: at which step (counted from 1), or after how long, or with how large a file."""

    kind: str  # kill | torn | full | late | limit
    at: float

    def __str__(self) -> str:
        return f"{self.kind}-{self.at:g}"


class Sent(NamedTuple):
    """A message of an actor."""

    actor_id: str
    session: int
    sequence: int
    columns: Columns


def sent(scene: Scene = PLAIN) -> tuple[list[Truth], list[Sent]]:
    """What actors send, in order: two of them, one restarted, eleven commits and more; and the episodes."""
    rng = random.Random(0)
    truths, messages = [], []
    for number, (actor, session) in enumerate((("peg-a", 11), ("peg-b", 12), ("peg-a", 13))):
        ended, rows = make_stream(actor, 100 * number, [rng.randint(1, 9) for _ in range(12)], sub_envs=3)
        truths += ended
        for sequence, columns in enumerate(in_messages(rows, 7)):
            messages.append(Sent(actor, session, sequence, with_images(columns) if scene.images else columns))
    return truths, messages


def wanted(scene: Scene) -> list[Truth]:
    """The episodes that the dataset gets."""
    truths = sent()[0]
    return [each for each in truths if each.frames["success"][-1] or not scene.successes_alone]


def with_images(columns: Columns) -> Columns:
    """Each picture is as bright as `brightness` of its observation says."""
    pictures = {
        "image." + CAMERA: brightness(columns["observation"][..., 0]),
        "final_image." + CAMERA: brightness(columns["final_observation"][:, 0]),
    }
    shape = (*SIZE, 3)
    return columns | {
        name: np.broadcast_to(level[..., None, None, None], (*level.shape, *shape)).copy()
        for name, level in pictures.items()
    }


def brightness(first_number: np.ndarray) -> np.ndarray:
    return (7 * first_number % 250).astype(np.uint8)


def journal_of(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}-journal")


def acked(folder: Path) -> Path:
    """What actors were told is durable, and forgot: a line a message."""
    return folder.with_name(f"{folder.name}-acked")


def write(folder: Path, scene: Scene = PLAIN) -> None:
    """Resume from the journal, then receive what was never acked; a commit a message."""
    cameras = {CAMERA: SIZE} if scene.images else {}
    keep = Keep(CollectionLimits(successes_alone=scene.successes_alone))
    store = LeRobotStore(
        folder, repo_id=REPO, observation_dim=OBS, action_dim=ACT, fps=20, robot_type="panda",
        task="PickCube-v1", queue_episodes=4, flush_s=1e-9, cameras=cameras, images=scene.images,
        budget=Budget(max_frames=scene.max_frames), keep=keep,
    )  # fmt: skip
    spec = msgspec.structs.replace(SPEC, cameras=cameras)
    # All commits become two shards or more at the end, one of them under another name alone.
    with (
        mock.patch.object(shards, "FULL_BYTES", 80_000),
        mock.patch.object(shards, "SMALL_BYTES", 20_000),
        store,
        acked(folder).open("a+", buffering=1) as acks,
    ):
        received = JournalWriter(journal_of(folder), JOURNAL, spec)
        for message in received.replayed:
            put(store, message.actor_id, message.session, message.columns)
        acks.seek(0)
        forgotten = set(acks.read().splitlines())
        known = {state.session: state.next_sequence for state in received.journal.sessions}
        for message in sent(scene)[1]:
            actor, session, sequence, columns = message
            if f"{session} {sequence}" in forgotten:
                continue
            if sequence >= known.get(session, 0):
                received.append(session, sequence, columns, actor)
                while received.durable.get(session, 0) <= sequence:
                    received.journal.raise_if_failed()
                    time.sleep(1e-4)
            acks.write(f"{session} {sequence}\n")
            put(store, actor, session, columns)
            received.journal.prune(store.committed())
        received.journal.close()
    assert keep.played.episodes == len(sent(scene)[0])
    received.journal.discard(store.committed())


def put(store: LeRobotStore, actor_id: str, session: int, columns: Columns) -> None:
    store.add(actor_id, session, columns)
    while store.pending and store._error is None:
        time.sleep(1e-4)


class Steps:
    """Calls `reached` before every step of writing a dataset that a crash or a full disk could interrupt."""

    EVENTS = frozenset(
        ("open", "os.link", "os.mkdir", "os.remove", "os.rename", "os.rmdir", "os.truncate", "shutil.rmtree")
    )

    def __init__(self) -> None:
        self._prefixes: tuple[str, ...] = ()
        self._reached: Callable[[str, Path], None] | None = None
        sys.addaudithook(self._hook)

    @contextlib.contextmanager
    def watched(self, folder: Path, reached: Callable[[str, Path], None]) -> Iterator[None]:
        self._prefixes = (f"{folder}/", f"{folder.parent}/.{folder.name}.")
        self._reached = reached
        try:
            yield
        finally:
            self._reached = None

    def _hook(self, event: str, arguments: tuple[Any, ...]) -> None:
        if (
            self._reached is None
            or event not in self.EVENTS
            or not isinstance(arguments[0], str | os.PathLike)
        ):
            return
        # A link or a renamed file is known by where it goes.
        path = os.fspath(arguments[1] if event in ("os.link", "os.rename") else arguments[0])
        if isinstance(path, str) and f"{path}/".startswith(self._prefixes):
            written = event == "open" and arguments[2] & (os.O_WRONLY | os.O_RDWR)
            self._reached("write" if written else event, Path(path))


STEPS = Steps()


def steps(folder: Path, scene: Scene = PLAIN) -> list[str]:
    """The names of all steps that could be interrupted, in order."""
    seen: list[str] = []
    with STEPS.watched(folder, lambda operation, path: seen.append(operation)):
        write(folder, scene)
    return seen


def die(folder: Path, fault: Fault, scene: Scene) -> None:
    """In a process of its own: write until the fault."""
    count = 0

    def reached(operation: str, path: Path) -> None:
        nonlocal count
        count += 1
        if fault.kind not in ("kill", "torn", "full") or count < fault.at:
            return
        if fault.kind == "torn" and operation != "write":
            return  # at the next file that is written
        if fault.kind == "full":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        if fault.kind == "torn":
            with STEPS.watched(folder, lambda *_: None):
                path.write_bytes(b"PAR1 and then the power went")
        os.kill(os.getpid(), signal.SIGKILL)

    if fault.kind == "late":
        threading.Timer(fault.at, os.kill, (os.getpid(), signal.SIGKILL)).start()
    if fault.kind == "limit":
        resource.setrlimit(resource.RLIMIT_FSIZE, (int(fault.at), int(fault.at)))
    try:
        with STEPS.watched(folder, reached):
            write(folder, scene)
    except RuntimeError as error:
        os._exit(FULL if f"in {folder}" in str(error) and "failed" in str(error) else 1)
    except OSError as error:
        os._exit(FULL if error.errno in (errno.EFBIG, errno.ENOSPC) else 1)


def open_dataset(folder: Path, **more: Any) -> Any:
    from lerobot.datasets.lerobot_dataset import LeRobotDataset

    # The default backend wants FFmpeg's libraries in the system.
    return LeRobotDataset(REPO, root=folder, video_backend="pyav", **more)


def check(folder: Path) -> int:
    """What must hold at every moment; returns the committed episodes."""
    if not folder.exists():
        return 0
    assert verify(folder) == []
    dataset = open_dataset(folder, delta_timestamps={"action": [0.0, 0.05]})
    info = json.loads((folder / "meta/info.json").read_text())
    assert (dataset.num_episodes, len(dataset)) == (info["total_episodes"], info["total_frames"])
    assert len(dataset.meta.episodes) == dataset.num_episodes
    assert dataset[len(dataset) - 1]["action_is_pad"].tolist() == [False, True]
    return dataset.num_episodes


def check_rows_are_there_once(folder: Path, scene: Scene = PLAIN) -> None:
    """Every row that was sent, and nothing else; of the newest episodes alone where there is a budget."""
    import pyarrow.dataset

    seen = pyarrow.dataset.dataset(folder / "data").to_table(
        columns=["observation.state", "next.truncated", "next.done"]
    )
    first = [row[0] for row in seen["observation.state"].to_pylist()]
    truths = wanted(scene)
    if scene.max_frames is not None:
        assert 0 < len(first) <= scene.max_frames
        truths = truths[-sum(seen["next.done"].to_pylist()) :]
    expected = [float(x) for truth in truths for x in truth.frames["observation"][:, 0]]
    assert collections.Counter(first) == collections.Counter(expected)
    assert sum(seen["next.truncated"].to_pylist()) == sum(not truth.terminated for truth in truths)
    if scene.images:
        check_images(folder, tolerance={"image": 0.01, "video": 5.0}[scene.images])


def check_images(folder: Path, tolerance: float) -> None:
    """Every picture is that of its own observation."""
    dataset = open_dataset(folder)
    for index in range(len(dataset)):
        frame = dataset[index]
        shown = 255 * frame[f"observation.images.{CAMERA}"].numpy()
        expected = float(brightness(frame["observation.state"][0].numpy()))
        assert shown.shape == (3, *SIZE) and np.abs(shown - expected).max() <= tolerance, index


def context() -> multiprocessing.context.ForkServerContext:
    """Processes that are forked from one that has imported all this and started no thread."""
    made = multiprocessing.get_context("forkserver")
    made.set_forkserver_preload(["tests.system.replay_faults"])
    return made


def survive(
    folder: Path, fault: Fault, processes: multiprocessing.context.ForkServerContext, scene: Scene = PLAIN
) -> str:
    """One fault, and all that must hold after it; says how it ended."""
    process = processes.Process(target=die, args=(folder, fault, scene))
    process.start()
    process.join()
    ended = {-signal.SIGKILL: "killed", FULL: "disk full", 0: "written"}[process.exitcode]
    if fault.kind in ("kill", "torn"):
        assert ended == "killed"
    if fault.kind == "full":
        assert ended == "disk full"
    before = check(folder)
    # What was acked does not come again: it is in the dataset, or the journal has it.
    write(folder, scene)
    after = check(folder)
    assert scene.max_frames is not None or after == len(wanted(scene)) >= before
    check_rows_are_there_once(folder, scene)
    left = {path.name for path in folder.parent.iterdir() if path.name.startswith(f".{folder.name}.")}
    assert not left
    return ended


def make_faults(count: int, names: list[str], seed: int = 0) -> list[Fault]:
    """Of all kinds: most at steps spread over all of `names`, some after a random time."""
    total, last_write = len(names), len(names) - names[::-1].index("write")
    rng = random.Random(seed)
    kinds = ("kill", "kill", "full", "torn")
    points = count * 4 // 5
    at = [1 + i * (total - 1) // max(1, points - 1) for i in range(points)]
    # A torn file needs a file that is still to be written.
    counted = [
        Fault(kind, min(step, last_write) if kind == "torn" else step)
        for kind, step in zip(itertools.cycle(kinds), at, strict=False)
    ]
    others = [Fault("late", round(rng.uniform(0.0, 0.5), 4)) for _ in range((count - len(counted)) // 2)]
    # Whole blocks: the journal writes past the page cache, and the kernel would take a part of one.
    limits = [Fault("limit", 4096 * rng.randint(1, 10)) for _ in range(count - len(counted) - len(others))]
    return [*counted, *others, *limits]


def main(count: int, scene: Scene) -> None:
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    logging.getLogger("learner").setLevel(logging.WARNING)
    os.environ["HF_HUB_OFFLINE"] = "1"
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as place:
        os.environ["HF_DATASETS_CACHE"] = f"{place}/cache"
        dry = Path(place) / "dry"
        dry.mkdir()
        names = steps(dry / "replay", scene)
        outcomes = collections.Counter()
        for fault in make_faults(count, names):
            folder = Path(place) / str(fault) / "replay"
            folder.parent.mkdir()
            try:
                outcomes[survive(folder, fault, context(), scene)] += 1
            except AssertionError:
                logging.error("%s broke it", fault)
                raise
            shutil.rmtree(folder.parent)
    logging.info(
        "%s: %d faults at %d steps (%s), none broke it: %s; %.0f s", scene, count, len(names),
        dict(collections.Counter(names)), dict(outcomes), time.monotonic() - started,
    )  # fmt: skip


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("points", nargs="?", type=int, default=200)
    parser.add_argument("--images", choices=["video", "image"])
    parser.add_argument("--max-frames", type=int)
    parser.add_argument("--successes", action="store_true")
    args = parser.parse_args()
    main(args.points, Scene(args.images, args.max_frames, args.successes))
