"""An actor acts with the newest weights that it can use."""

from types import SimpleNamespace
from typing import Any, cast

import msgspec
import numpy as np
import pytest

from actor.link.uplink import Uplink
from actor.link.weights import adopt_newest
from actor.policy.residual import ResidualActor
from protocol.messages import Weights
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
