"""Optional columns of the experience, declared for tests, and a policy that has values for them."""

from typing import Any

import pytest
import torch

from actor.policy.decorated import Chosen
from actor.rollout import Rollout
from protocol import experience
from protocol.arrays import Columns
from protocol.experience import COLUMNS, Column, ExperienceSpec, Per
from tests.support.fakes import CountingBase, ScriptedEnvironment
from tests.support.helpers import collect, make_config, make_policy

OPTIONAL = (
    Column("log_probability", "f4", Per.ROW, (), "finite", "of the residual", optional=True),
    Column("intervened", "b1", Per.FRAME, (), "0 or 1", "whether a person acted", optional=True),
    Column("feature", "f4", Per.PLAN, ("A", 2), "finite", "of each planned action", optional=True),
)


def declare(monkeypatch: pytest.MonkeyPatch) -> None:
    """Add OPTIONAL to the definition."""
    monkeypatch.setattr(experience, "COLUMNS", (*COLUMNS, *OPTIONAL))


class Offering:
    """A policy that has values of the optional columns: each says which frame it is of."""

    def __init__(self, policy: Any) -> None:
        self._policy, self._frame = policy, 0

    def act(self) -> Chosen:
        chosen, self._frame = self._policy.act(), self._frame + 1
        n, k, a = chosen.residual.shape
        chosen.optional.update(
            log_probability=torch.full((n,), -float(self._frame)),
            intervened=torch.full((n,), self._frame % 2 == 0),
            feature=torch.full((n, k, a, 2), float(self._frame)),
        )
        return chosen

    def __getattr__(self, name: str) -> Any:
        return getattr(self._policy, name)


def offered(spec: ExperienceSpec) -> Columns:
    """What a rollout of 12 frames collects."""
    policy = make_policy(CountingBase(), make_config("algo.residual_every=4"), 2, 4)
    return collect(Rollout(ScriptedEnvironment([[7, 3], [5]]), Offering(policy), spec), 12)
