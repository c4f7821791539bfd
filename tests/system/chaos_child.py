"""The processes of tests/system/chaos.py: the real intake, journal and LeRobot store, and real uplinks
that send identifiable rows and write down what they sent and what was called durable.

    python -m tests.system.chaos_child learner|actor SETTINGS.json [ACTOR_ID]
"""

import json
import logging
import os
import random
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from actor.link.uplink import Uplink
from config.learner import JournalConfig
from config.wire import WireConfig
from learner.intake.intake import Intake
from learner.replay.dataset.store import LeRobotStore
from learner.replay.journal.journal import Journal
from protocol.arrays import Limits, weights_digest
from protocol.experience import ExperienceSpec
from protocol.messages import Progress, Weights
from protocol.pictures import depths_in
from tests.support.behaviour import residual_acts
from tests.support.identifiable import ACT, OBS, K, pack
from tests.support.spec import SPEC, make_spec

# Rows say which frames somebody intervened in.
INTERVENED = make_spec(optional_columns=("intervention",))
CAMERAS, PICTURE = ("top", "top_depth"), (8, 16)
# Beside that, each frame has a picture of each.
PICTURED = make_spec(optional_columns=("intervention",), cameras=dict.fromkeys(CAMERAS, PICTURE))
SUB_ENVS = 4
LONGEST_EPISODE = 30
COMMIT_EVERY_S = 0.3

log = logging.getLogger(__name__)


def ready_file(folder: Path, pid: int) -> Path:
    """Is there once a process has begun."""
    return folder / f"ready.{pid}"


def flowing_file(folder: Path, pid: int) -> Path:
    """Is there once rows of an actor's process were called durable."""
    return folder / f"flowing.{pid}"


def intervened_frames(number: float) -> list[bool]:
    """Which frames of the row with this first number somebody intervened in."""
    return [(int(number) >> frame) % 2 == 1 for frame in range(K)]


def picture_of(number: float, camera: str) -> np.ndarray:
    """(H, W, C) that says a number below 2 ** 24 in every pixel, depth that number modulo 2 ** 16."""
    if depths_in([camera]):
        return np.full((*PICTURE, 1), int(number) % 2**16, np.uint16)
    pixel = [(int(number) >> shift) & 255 for shift in (0, 8, 16)]
    return np.broadcast_to(np.array(pixel, np.uint8), (*PICTURE, 3))


def first_number(session: int, sub_env: int, episode: int, decision: int) -> float:
    """What the first observation number of a row must be."""
    return float((session * 7919 + sub_env * 104729 + episode * 31 + decision) % 1_000_003)


class ChaosActor:
    """One process of an actor."""

    def __init__(
        self,
        wire: WireConfig,
        actor_id: str,
        notes: Path,
        stop: threading.Event,
        rate: float,
        spec: ExperienceSpec,
    ) -> None:
        self._uplink = Uplink(
            wire,
            actor_id=actor_id,
            role="actor",
            spec=spec,
            stop=threading.Event(),
            spool=notes.parent / "spool",
        )
        self._session: int = self._uplink.session
        self._rng = random.Random(self._session)
        self._folder = notes.parent
        self._notes = os.open(notes, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        self._stop, self._rate = stop, rate
        self._optional, self._pictured = spec.optional_columns, bool(spec.cameras)
        self._at = [(0, 0, self._length()) for _ in range(SUB_ENVS)]  # episode, decision, decisions
        self._durable = 0
        self._version = -1

    def run(self) -> None:
        """Until `stop`; then all that was sent is made durable."""
        self._uplink.connect()
        while not self._stop.is_set():
            rows = [self._row(self._rng.randrange(SUB_ENVS)) for _ in range(self._rng.randint(1, 20))]
            self._note("sending", [[row["sub_env"], row["episode"], row["decision"]] for row in rows])
            self._uplink.send(pack(rows) | (pictures_of(rows) if self._pictured else {}))
            self._note("sent", len(rows))
            self._look()
            time.sleep(len(rows) / self._rate)
        while not self._uplink.flush(0.5):
            log.info("waiting for the disk")
        self._look()
        self._note("flushed", True)
        self._uplink.close()

    def _look(self) -> None:
        self._uplink.pump()
        if self._uplink.durable != self._durable:
            self._durable = self._uplink.durable
            flowing_file(self._folder, os.getpid()).touch()
            self._note("durable", self._durable)
        weights = self._uplink.newest_weights()
        if weights is not None:
            self._note("version", weights.version)

    def _row(self, sub_env: int) -> dict[str, Any]:
        episode, decision, decisions = self._at[sub_env]
        last = decision + 1 == decisions
        self._at[sub_env] = (episode + 1, 0, self._length()) if last else (episode, decision + 1, decisions)
        number = first_number(self._session, sub_env, episode, decision)
        numbers = np.full((K, ACT), number, np.float32)
        row: dict[str, Any] = dict.fromkeys(("action", "base_plan", "residual"), numbers)
        row |= {
            "observation": np.full((K, OBS), number, np.float32), "reward": np.zeros(K, np.float32),
            "success": np.zeros(K, bool), "frames": K,
            "terminated": False, "truncated": last, "sub_env": sub_env, "episode": episode,
            "decision": decision, "weights_version": 0, "final": [0.0] * OBS if last else None,
        }  # fmt: skip
        optional = {"intervention": np.array(intervened_frames(number))}
        return row | {name: optional[name] for name in self._optional}

    def _length(self) -> int:
        return self._rng.randint(1, LONGEST_EPISODE)

    def _note(self, kind: str, what: object) -> None:
        # The page cache outlives this process, however it ends.
        os.write(self._notes, json.dumps([self._session, kind, what]).encode() + b"\n")


def pictures_of(rows: list[dict[str, Any]]) -> dict[str, np.ndarray]:
    """Columns of the cameras: of each frame its row's first number and its place in the row."""
    numbers = [row["observation"][0, 0] for row in rows]
    last = [number + K for number, row in zip(numbers, rows, strict=True) if row["final"] is not None]
    columns: dict[str, np.ndarray] = {}
    for camera in CAMERAS:
        one = picture_of(0, camera)
        shown = [[picture_of(number + frame, camera) for frame in range(K)] for number in numbers]
        finals = [picture_of(number, camera) for number in last]
        columns[f"image.{camera}"] = np.array(shown, one.dtype)
        columns[f"final_image.{camera}"] = np.array(finals, one.dtype).reshape(-1, *one.shape)
    return columns


def run_learner(
    wire: WireConfig,
    folder: Path,
    journal_settings: JournalConfig,
    stop: threading.Event,
    spec: ExperienceSpec,
) -> None:
    """Receive until `stop`; then close all sessions."""
    limits = msgspec.convert(wire, Limits, from_attributes=True)
    journal = Journal(folder / "journal", journal_settings, spec, limits)
    store = LeRobotStore(
        folder / "replay", repo_id="chaos", observation_dim=OBS, action_dim=ACT, fps=20, robot_type="none",
        task="chaos", queue_episodes=64, flush_s=COMMIT_EVERY_S,
        optional_columns=spec.optional_columns, cameras=spec.cameras,
        images="image" if spec.cameras else None,
    )  # fmt: skip
    for actor_id, session, columns, position in journal.replay():
        store.add(actor_id, session, columns, position)
    for state in journal.sessions:
        if state.ended:
            store.end_session(state.actor_id, state.session)
    intake = Intake(wire, spec, queue_rows=wire.credit_rows, journal=journal, run={"name": "chaos"})
    version, decisions = journal.version, journal.totals.decisions
    intake.start()
    due_s = 0.0
    while not stop.is_set():
        for received in intake.drain(timeout_s=0.05):
            store.add(received.actor_id, received.session, received.columns, received.position)
            decisions += len(received.columns["frames"])
        for actor_id, session in intake.ended_sessions():
            store.end_session(actor_id, session)
        intake.evaluations()
        journal.raise_if_failed()
        if time.monotonic() >= due_s:
            due_s = time.monotonic() + COMMIT_EVERY_S
            store.raise_if_failed()
            journal.prune(store.committed())
            write_status(folder, intake)
            version += 1
            journal.use_version(version)
            intake.publish(make_weights(version))
            intake.announce(
                Progress(decisions=decisions, updates=0, version=version, evaluate=False, finished=False)
            )
    intake.close()
    # Rows are handed out once they are on disk.
    journal.close()
    for received in intake.drain():
        store.add(received.actor_id, received.session, received.columns, received.position)
    for peer in intake.peers():
        store.end_session(peer.actor_id, peer.session)
    store.close()
    journal.discard(store.committed())
    log.info("counters: %s", intake.counters())


def write_status(folder: Path, intake: Intake) -> None:
    """What others may want to know of this process."""
    rss_kb = next(
        int(line.split()[1])
        for line in Path("/proc/self/status").read_text().splitlines()
        if line.startswith("VmRSS")
    )
    fresh = folder / "status.new"
    fresh.write_text(json.dumps({"rss_kb": rss_kb, "counters": intake.counters(), "t": time.time()}))
    fresh.rename(folder / "status.json")


def make_weights(version: int) -> Weights:
    """Weights of nothing."""
    return Weights(
        version=version, digest=weights_digest({}), behaviour=residual_acts(1.0), final=False, columns={},
        base=None,
    )  # fmt: skip


def main(kind: str, settings_path: str, actor_id: str = "") -> None:
    logging.basicConfig(level=logging.INFO, format=f"%(asctime)s {actor_id or kind} %(message)s")
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    settings = json.loads(Path(settings_path).read_text())
    wire, folder = msgspec.convert(settings["wire"], WireConfig), Path(settings["folder"])
    spec = INTERVENED if settings.get("interventions") else SPEC
    spec = PICTURED if settings.get("pictures") else spec
    ready_file(folder, os.getpid()).touch()  # from now on SIGTERM is a request
    if kind == "learner":
        run_learner(wire, folder, msgspec.convert(settings["journal"], JournalConfig), stop, spec)
    else:
        notes = folder / f"{actor_id}.notes"
        ChaosActor(wire, actor_id, notes, stop, settings["rows_per_s"], spec).run()


if __name__ == "__main__":
    main(*sys.argv[1:])
