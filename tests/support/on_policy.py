"""Decisions of a policy as actors of ppo and grpo send them, and the parts of a learner for them."""

import functools
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from actor.policy.gaussian import GaussianResidual
from actor.policy.make import make_base
from actor.policy.spec import experience_spec
from config.compose import compose_config
from config.main import Config
from learner.algorithms.contract import Training
from learner.make import make_training
from learner.ranks.ranks import Ranks
from protocol.arrays import Columns
from protocol.experience import ExperienceSpec, zeros


@functools.cache
def on_policy_config(algo: str, *words: str) -> Config:
    """Of a small run on Pendulum without a base."""
    sizes = {"ppo": ["algo.batch_decisions=32", "algo.minibatch_size=8"], "grpo": ["algo.minibatch_size=8"]}
    small = ["algo.hidden=[8]", "algo.epochs=2", "actor.count=1", "learner.demos=null", *sizes[algo]]
    return compose_config([f"algo={algo}", "task=pendulum", "base=zero", *small, *words])


@dataclass
class Run:
    """A learner's parts without wire, and what its actor would send."""

    config: Config
    training: Training
    spec: ExperienceSpec
    version: int = 0

    @classmethod
    def of(cls, config: Config) -> "Run":
        base = make_base(config.base, config.task, "cpu")
        return cls(config, make_training(config, base, Ranks()), experience_spec(config, base))

    @property
    def parts(self) -> dict[str, Any]:
        """What is saved of it."""
        made = self.training
        return {"algorithm": made.algorithm, "batches": made.batches, "pace": made.schedule}

    def publish(self) -> None:
        publications = self.training.publications
        assert publications is not None
        if publications.due(0.0):
            self.version += 1
            publications.published(self.version, 0.0)

    def receive(self, columns: Columns, position: int = 0, session: int = 1) -> None:
        self.training.memory.add("actor-0", session, columns, position)
        self.training.schedule.count("actor-0", columns)

    def learn(self, most: int = 10**9) -> int:
        """Updates that are due, at most so many; returns how many there were."""
        made = 0
        while made < most and self.training.schedule.updates_due:
            self.training.algorithm.update(self.training.batches.next())
            made += 1
        return made

    def decisions(
        self, count: int, *, sub_env: int = 0, episode: int = 0, first: int = 0, end: str = "", seed: int = 0
    ) -> Columns:
        """`count` decisions of one episode, by the newest weights; rewards and observations by `seed`.
        `end`: terminated, truncated, or nothing."""
        columns = zeros(self.spec, rows=count, ends=1 if end else 0)
        rng = np.random.default_rng(seed)
        columns["observation"][:] = rng.normal(size=columns["observation"].shape)
        columns["residual"][:] = rng.normal(size=columns["residual"].shape)
        columns["reward"][:] = rng.normal(size=columns["reward"].shape)
        columns["frames"][:], columns["sub_env"][:], columns["episode"][:] = 1, sub_env, episode
        columns["decision"][:] = np.arange(first, first + count)
        columns["weights_version"][:] = self.version
        columns["log_prob"][:] = self._log_prob(columns)
        if end:
            columns[end][-1], columns["final_row"][:] = True, count - 1
            columns["final_observation"][:] = rng.normal(size=columns["final_observation"].shape)
        return columns

    @torch.no_grad()
    def _log_prob(self, columns: Columns) -> Any:
        actor = getattr(self.training.algorithm, "actor")  # noqa: B009  # of these algorithms alone
        assert isinstance(actor, GaussianResidual)
        rows = [torch.from_numpy(columns[name][:, 0]) for name in ("observation", "base_plan", "residual")]
        return actor.log_prob(actor.sight(rows[0]), rows[1], rows[2]).numpy()
