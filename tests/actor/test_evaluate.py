"""The evaluator of a run, over scripted episodes."""

import threading
from collections.abc import Mapping
from typing import Any, cast

import msgspec
import pytest
from safetensors.torch import save
from torch import Tensor, zeros

from actor.evaluate import Evaluator
from actor.link.uplink import Uplink
from config.compose import compose_config
from protocol.messages import Weights
from protocol.session.pieces import Blob
from tests.support.fakes import CountingBase, ScriptedEnvironment
from tests.support.wire import PROGRESS, make_weights


class ReplaceableBase(CountingBase):
    """One whose weights mean nothing."""

    def weights(self) -> Mapping[str, Tensor]:
        return {"w": zeros(1)}

    def with_weights(self, weights: Mapping[str, Tensor]) -> "ReplaceableBase":
        return ReplaceableBase(self.observation_dim, self.action_dim, self.act_horizon)


class Offered:
    """An uplink with versions of a base, each of which waits until there is room for it."""

    def __init__(self, versions: list[Weights], stop: threading.Event) -> None:
        self._versions, self._stop, self._pumped = versions, stop, 0
        self.evaluated: list[tuple[str, int]] = []
        self.progress = PROGRESS

    def pump(self) -> None:
        self._pumped += 1
        if self._pumped > 100:
            self._stop.set()

    def newest_weights(self, *, with_base: bool) -> Weights | None:
        return self._versions.pop(0) if with_base and self._versions else None

    def take_base(self) -> bytearray:
        return bytearray(save({"w": zeros(1)}))

    def confirm_base(self) -> None: ...

    def send_evaluation(self, *, policy: str, version: int, **found: Any) -> None:
        self.evaluated.append((policy, version))
        if version == 2:
            self.progress = msgspec.structs.replace(PROGRESS, finished=True)


def version_of_a_base(version: int, *, final: bool) -> Weights:
    base = Blob(f"{version}".encode()).announced(version)
    return msgspec.structs.replace(make_weights(version), base=base, final=final)


def test_the_final_one_of_two_bases_that_come_between_two_evaluations_is_evaluated(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config = compose_config(
        ["algo=sft", "learner.evaluation.episodes=1", "learner.evaluation.every_s=3600", "actor.device=cpu"]
    )
    stop = threading.Event()
    monkeypatch.setattr(stop, "wait", lambda timeout_s: stop.is_set())
    uplink = Offered([version_of_a_base(1, final=False), version_of_a_base(2, final=True)], stop)
    base = ReplaceableBase(act_horizon=config.algo.residual_every)
    envs = ScriptedEnvironment([[3]])
    Evaluator(config, base, envs, cast(Uplink, uplink), stop).run()
    assert uplink.evaluated == [("base", 0), ("full", 2)] and not stop.is_set()
