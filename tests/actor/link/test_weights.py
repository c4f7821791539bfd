"""An actor acts with the newest weights that it can use."""

from types import SimpleNamespace
from typing import Any, cast

import msgspec
import numpy as np
import pytest
import torch
from safetensors.torch import save

from actor.link.connection import Connection
from actor.link.incoming import IncomingWeights
from actor.link.incoming_base import IncomingBase
from actor.link.uplink import Uplink
from actor.link.weights import adopt_newest
from actor.policy.decorated import DecoratedPolicy, EvaluatedPolicy
from actor.policy.diffusion.base import DiffusionBase
from actor.policy.residual import ResidualActor
from protocol.arrays import weights_digest
from protocol.messages import Weights
from protocol.session.pieces import PIECE_BYTES, Blob, piece_asked, topic_of
from tests.support.diffusion import small_agent
from tests.support.fakes import CountingBase
from tests.support.helpers import make_config, make_policy
from tests.support.wire import make_weights


def weights_of(version: int, value: float) -> Weights:
    state = ResidualActor(make_config().algo, 3, 2).state_dict()
    columns = {name: np.full(tensor.shape, value, np.float32) for name, tensor in state.items()}
    return msgspec.structs.replace(make_weights(version), columns=columns)


@pytest.mark.parametrize("bad", [float("nan"), float("-inf")])
def test_an_actor_keeps_its_weights_where_newer_ones_are_not_finite(
    bad: float, caplog: pytest.LogCaptureFixture
) -> None:
    sent = iter([weights_of(1, 0.5), weights_of(2, bad), weights_of(3, 0.25)])
    told = SimpleNamespace(newest_weights=lambda with_base: next(sent), take_base=lambda: None)
    uplink = cast(Uplink, told)
    config: Any = make_config()
    policy = make_policy(CountingBase(), config, 1, config.algo.residual_every)
    assert adopt_newest(uplink, policy) is not None
    assert adopt_newest(uplink, policy) is None
    assert policy.weights_version == 1 and policy._residual.head.bias[0] == 0.5
    assert "ignored weights v2 from the learner: " in caplog.text
    adopt_newest(uplink, policy)
    assert policy.weights_version == 3


class Learner:
    """A connection whose learner answers at once, and an uplink over it."""

    where = "here"

    def __init__(self) -> None:
        self.offered: Weights | None = None
        self.session = SimpleNamespace(progress=None, connected=False)
        self.asked: list[bytes] = []
        self._blob = Blob(b"x")
        connection = cast(Connection, self)
        self.base = IncomingBase(connection, 10 * PIECE_BYTES, 1.0)
        weights = IncomingWeights(connection, self.base, 1, 1.0)
        told = SimpleNamespace(
            newest_weights=lambda with_base=True: weights.take_newest(0.0, with_base=with_base),
            take_base=lambda: None if self.base.complete is None else self.base.take(),
            confirm_base=weights.confirm_base,
        )
        self.uplink = cast(Uplink, told)

    def publish(self, version: int, blob: Blob, value: float = 0.0, *, final: bool = False) -> None:
        columns = {"layer": np.full(3, value, np.float32)}
        self._blob, plain = blob, make_weights(version)
        self.offered = msgspec.structs.replace(
            plain, columns=columns, digest=weights_digest(columns), base=blob.announced(version), final=final
        )

    def subscribe(self, topics: list[bytes], dropped: list[bytes]) -> None:
        self.asked += topics

    def receive_published(self) -> tuple[None, list[list[bytes]]]:
        numbers = [asked[1] for asked in map(piece_asked, self.asked) if asked]
        self.asked = []
        return None, [[topic_of(self._blob.digest, n), bytes(self._blob.piece(n) or b"")] for n in numbers]

    def adopt(self, policy: DecoratedPolicy) -> None:
        for _ in range(4):
            adopt_newest(self.uplink, policy)


def played() -> tuple[DecoratedPolicy, Blob]:
    """A policy whose base can be replaced, and the content of a base that fits."""
    base = DiffusionBase(small_agent(), 4, 4)
    policy = EvaluatedPolicy(
        base, None, num_envs=1, residual_every=4, residual_scale=1.0, device="cpu", first_seed=0
    )
    return policy, Blob(save(dict(base.weights())))


def test_weights_for_a_base_that_does_not_fit_are_never_played() -> None:
    learner, (policy, fits) = Learner(), played()
    for version in (1, 2):
        learner.publish(version, Blob(save({"x": torch.zeros(1)})))
        learner.adopt(policy)
        assert (policy.weights_version, policy.base_version) == (0, 0)
    learner.publish(3, fits)
    learner.adopt(policy)
    assert (policy.weights_version, policy.base_version) == (3, 3)


def test_a_base_is_adopted_even_if_the_residual_that_came_with_it_is_not() -> None:
    learner, (policy, fits) = Learner(), played()
    learner.publish(1, fits, value=float("nan"))
    learner.adopt(policy)
    assert (policy.weights_version, policy.base_version) == (0, 1)
    learner.publish(2, fits)
    learner.adopt(policy)
    assert policy.weights_version == 2


def test_of_bases_one_content_is_in_memory_until_it_is_taken() -> None:
    learner, base = Learner(), Blob(bytes(100))
    learner.publish(1, base)
    for _ in range(2):
        assert learner.uplink.newest_weights(with_base=False) is None
    learner.publish(2, newer := Blob(bytes(200)))
    for _ in range(2):
        assert learner.uplink.newest_weights(with_base=False) is None
    assert learner.base.complete is not None and not learner.base._fetch._content and not learner.asked
    assert learner.uplink.newest_weights() is not None and learner.base.take() == bytes(100)
    learner.uplink.newest_weights()
    assert learner.asked == [topic_of(newer.digest, 0)]
