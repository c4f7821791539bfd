"""The learner of `benchmarks.scale`: what a run's learner does with rows, and updates all the time."""

import time
from multiprocessing.connection import Connection
from typing import NamedTuple

import msgspec
import psutil
import torch

from actor.policy.contract import BasePolicy
from actor.policy.make import make_base
from actor.policy.spec import experience_spec
from benchmarks.scale_actor import Order, messages
from config.algo import AlgoConfig
from config.main import Config
from learner.algorithms.products import use_fast_products
from learner.algorithms.residual_sac import ResidualSAC
from learner.broadcast import Broadcast
from learner.intake.intake import Intake
from learner.intake.queue import Received
from learner.loop import UPDATES_PER_TURN
from learner.publications import Timed
from learner.replay.journal.journal import Journal
from learner.replay.memory.batches import Batches
from learner.replay.restore.memory import RingMemory
from learner.replay.run import RunReplay, make_ring, make_store
from learner.schedule.pace import Pace
from protocol.arrays import Limits


class LearnerSeen(NamedTuple):
    """What the learner measured between two words of its owner."""

    seconds: float
    rows: dict[str, int]
    """Of each actor."""
    updates: int
    other_threads_s: float
    published_s: dict[int, float]
    """When each version of the weights was published."""


class ScaleLearner:
    """What a run's learner does with rows, and updates without a pause."""

    def __init__(self, config: Config, base: BasePolicy) -> None:
        spec, folder = experience_spec(config, base), config.run_dir
        limits = msgspec.convert(config.wire, Limits, from_attributes=True)
        self._journal = Journal(folder / "journal", config.learner.journal, spec, limits)
        ring = make_ring(config.learner.replay_capacity, config, base)
        self._store = make_store(config, base)
        self._replay = RunReplay(folder / "replay", RingMemory(ring), self._journal, self._store)
        self._replay.restore()
        self.intake = Intake(config.wire, spec, queue_rows=config.wire.credit_rows, journal=self._journal)
        self._broadcast = Broadcast(self.intake, self._journal)
        self._publications = Timed(config.learner.publish_every_s)
        algo = config.algo
        assert isinstance(algo, AlgoConfig)
        self._algorithm = ResidualSAC(algo, base.observation_dim, base.action_dim, seed=0, device="cpu")
        # Something to learn from before the first actor sends.
        order = Order(wire=config.wire, spec=spec, index=0, rows_per_s=1.0, rows_per_message=64, sub_envs=6)
        for columns, _ in zip(messages(order), range(100), strict=False):
            ring.add("recorded", columns)
        self._batches = Batches(algo, ring, None, seed=0, device="cpu")
        self._behaviour = Pace(algo, config.learner.max_updates_behind, 1).behaviour()
        self._log_every_s, self._pruned_s = config.learner.log_every_s, time.monotonic()

    def work(self, pipe: Connection) -> LearnerSeen:
        """Until something is said in `pipe`."""
        rows: dict[str, int] = {}
        published_s: dict[int, float] = {}
        updates, began_s = 0, time.monotonic()
        all_s, own_s = time.process_time(), time.thread_time()
        while not pipe.poll():
            for received in self.intake.drain():
                self._keep(received)
                rows[received.actor_id] = rows.get(received.actor_id, 0) + received.rows
            for _ in range(UPDATES_PER_TURN):
                self._algorithm.update(self._batches.next())
            updates += UPDATES_PER_TURN
            now_s = time.monotonic()
            if self._publications.due(now_s):
                weights = self._algorithm.published()
                version = self._broadcast.publish(weights, self._behaviour, now_s=now_s).version
                self._publications.published(version, now_s)
                published_s[version] = now_s
            if now_s - self._pruned_s > self._log_every_s:
                self._pruned_s = now_s
                self._replay.prune_journal()
        pipe.recv()
        spent_s = time.process_time() - all_s - (time.thread_time() - own_s)
        return LearnerSeen(time.monotonic() - began_s, rows, updates, spent_s, published_s)

    def _keep(self, received: Received) -> None:
        self._replay.add(received.actor_id, received.session, received.columns, received.position)
        self._replay.raise_if_failed()

    def close(self) -> None:
        self.intake.close()
        self._store.close(compact=False)
        self._journal.close()


def learn(config: Config, pipe: Connection) -> None:
    """The learner's process: updates alone, then with actors; says what it saw each time."""
    torch.set_num_threads(1)
    use_fast_products()
    learner = ScaleLearner(config, make_base(config.base, config.task, "cpu"))
    learner.intake.start()
    pipe.send("ready")
    alone = learner.work(pipe)
    rss = psutil.Process().memory_info().rss
    pipe.send(alone)
    learner.work(pipe)  # while actors connect
    pipe.send(psutil.Process().memory_info().rss - rss)
    pipe.send(learner.work(pipe))
    learner.close()
