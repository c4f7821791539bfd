"""A writer of a dataset that is fed as a run feeds it."""

from __future__ import annotations

from pathlib import Path

from learner.replay.dataset.assembler import EpisodeAssembler
from learner.replay.dataset.compaction import Budget
from learner.replay.dataset.format.spec import DatasetSpec
from learner.replay.dataset.writer import LeRobotWriter
from learner.replay.memory.ring import Ring
from tests.support.identifiable import ACT, OBS, K, Truth, make_stream, pack
from tests.system.replay_faults import CAMERA, SIZE, with_images

LENGTHS = [9, 7, 12, 5, 8, 11, 6, 10, 13, 7, 9, 8]


class Recorder:
    """Writes one episode a commit, as if each came from the rollout and through the ring."""

    def __init__(self, folder: Path, budget: Budget | None, images: str | None = None) -> None:
        self.folder, self._budget, self._images = folder, budget, images
        self.ring = Ring(500, OBS, K * ACT)
        self.truths = make_stream("peg", 0, LENGTHS, sub_envs=1)[0]
        self.start()

    def start(self) -> None:
        """In a new process."""
        cameras = {CAMERA: list(SIZE)} if self._images else {}
        spec = DatasetSpec(
            "tests/faults", OBS, ACT, 20, "panda", "PickCube-v1", cameras=cameras, images=self._images
        )
        self.writer = LeRobotWriter(self.folder, spec, self._budget)
        self._assembler = EpisodeAssembler(dict(self.writer.committed.episodes_done))

    def commit(self, truth: Truth) -> None:
        columns = pack(truth.rows)
        position = self.ring.add("peg", columns)
        columns = with_images(columns) if self._images else columns
        self.writer.append(self._assembler.add("peg", 7, [(columns, position)]))
        self.writer.commit()
