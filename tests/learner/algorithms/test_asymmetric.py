"""Actor and critics may see different things; where they see the state alone, all is as it was."""

import copy
import hashlib

import msgspec
import numpy as np
import pytest
import torch
from torch import Tensor

from actor.policy.spec import experience_spec
from config.algo import AlgoConfig
from learner.algorithms.residual_sac import ResidualSAC
from learner.replay.memory.batches import Batches
from learner.replay.memory.ring import Ring
from learner.replay.memory.transitions import TransitionBatch
from tests.support.fakes import CountingBase, SeeingBase
from tests.support.helpers import make_config
from tests.support.identifiable import ACT, OBS, K, make_stream, pack

ROBOT = "algo.proprioception=[[0, 2]]"
WORDS = ("algo.residual_every=4", "algo.batch_size=16", "algo.last_layer_gain=1", "algo.actor_delay=1")


def recipe(*words: str) -> AlgoConfig:
    algo = make_config(*WORDS, ROBOT, "algo.critic_warmup_updates=0", *words).algo
    assert isinstance(algo, AlgoConfig)
    return algo


def make(*words: str, features: int = 2) -> ResidualSAC:
    return ResidualSAC(recipe(*words), 5, 2, features, seed=0, device="cpu")


def batch_of(width: int = 7, seed: int = 0) -> dict[str, Tensor]:
    torch.manual_seed(seed)
    sizes = {
        "observation": width,
        "base_plan": 8,
        "residual": 8,
        "next_observation": width,
        "next_base_plan": 8,
    }
    batch = {name: torch.rand(16, size) for name, size in sizes.items()}
    return batch | {"reward": torch.rand(16), "discount": torch.ones(16)}


def moved(batch: dict[str, Tensor], dim: int) -> dict[str, Tensor]:
    """The batch with one dimension of what there is to see changed."""
    changed = {name: batch[name].clone() for name in ("observation", "next_observation")}
    for rows in changed.values():
        rows[:, dim] += 0.5
    return batch | changed


@pytest.mark.parametrize("noise", [0, 0.03])
def test_each_network_reads_what_it_sees_and_nothing_else(noise: float) -> None:
    algorithm = make(
        "algo.sees=[proprioception,features]", "algo.critics_see=[state]", f"algo.observation_noise={noise}"
    )
    assert algorithm.actor.observation_mean.shape == (2 + 2,)
    assert algorithm.critic.observation_mean.shape == (5,)
    batch, reads = batch_of(), {"actor": {0, 1, 5, 6}, "critic": {0, 1, 2, 3, 4}}

    def values(rows: dict[str, Tensor]) -> dict[str, Tensor]:
        algorithm._rng.manual_seed(1)
        seen = algorithm._seen(rows)
        return {
            "actor": algorithm.actor.mode(algorithm._sights.of_actor(seen, "observation"), seen["base_plan"]),
            "critic": algorithm.critic(
                seen["observation"], torch.cat([seen["base_plan"], seen["residual"]], 1)
            ),
        }

    before = values(batch)
    for dim in range(7):
        after = values(moved(batch, dim))
        for network, dims in reads.items():
            assert (not torch.equal(before[network], after[network])) == (dim in dims), (network, dim)
    for _ in range(3):
        assert torch.isfinite(algorithm.update(batch)["loss/critic"]())


def test_a_target_is_of_what_the_actor_sees_next_under_critics_that_see_the_state() -> None:
    algorithm = make("algo.sees=[features]", "algo.critics_see=[state]", "algo.observation_noise=0")
    batch = batch_of()
    algorithm._rng.manual_seed(1)
    target = algorithm.bootstrap_target(algorithm._seen(batch))
    for dim in range(7):
        algorithm._rng.manual_seed(1)
        other = algorithm.bootstrap_target(algorithm._seen(moved(batch, dim)))
        assert not torch.equal(target, other)


def test_prior_data_scales_what_each_network_sees() -> None:
    algorithm = make("algo.sees=[features]", "algo.critics_see=[proprioception]")
    rows = torch.arange(70.0).view(10, 7)
    algorithm.scale_observations(rows)
    torch.testing.assert_close(algorithm.actor.observation_mean, rows[:, 5:].mean(0))
    torch.testing.assert_close(algorithm.critic.observation_mean, rows[:, :2].mean(0))
    assert torch.equal(algorithm.target_critic.observation_mean, algorithm.critic.observation_mean)


def test_its_state_is_resumed_to_the_bit() -> None:
    words = ("algo.sees=[proprioception]", "algo.critics_see=[state,features]")
    one, other = make(*words), make(*words)
    one.update(batch_of())
    other.load_state(copy.deepcopy(one.state()))
    for algorithm in (one, other):
        algorithm.update(batch_of(seed=1))
    for a, b in zip(one.critic.stack + one.actor.stack, other.critic.stack + other.actor.stack, strict=True):
        assert torch.equal(a, b)
    with pytest.raises(ValueError, match="other networks"):
        make("algo.sees=[state]").load_state(one.state())


def test_the_default_sees_the_state_and_its_networks_batches_and_words_are_those_of_before() -> None:
    """The digests were taken from the release before."""
    words = ("algo.residual_every=4", "algo.gamma=0.95", "algo.batch_size=8", "algo.prior_fraction=0")
    config = make_config(*words)
    algo = config.algo
    assert isinstance(algo, AlgoConfig) and algo.sees == algo.critics_see == ("state",)
    spec = msgspec.json.encode(experience_spec(config, CountingBase()))
    assert spec == msgspec.json.encode(experience_spec(config, SeeingBase()))
    assert b"features" not in spec
    algorithm = ResidualSAC(algo, OBS, ACT, seed=0, device="cpu")
    assert digest(algorithm.critic.state_dict().values()) == "ff2beed1a289730c"
    ring = Ring(200, OBS, K * ACT)
    ring.add("peg", pack(make_stream("peg", 0, [9, 7, 12, 5], 2)[1]))
    drawn = Batches(algo, ring, None, seed=0, device="cpu").next()
    assert [*drawn] == [*TransitionBatch._fields]
    assert digest(drawn.values()) == "a136fe9592a12889"
    assert algo.describe() == "deterministic constant dims all obs_base_action [128, 128]"


def digest(tensors) -> str:
    found = hashlib.sha256()
    for tensor in tensors:
        found.update(np.ascontiguousarray(tensor.detach().numpy()).tobytes())
    return found.hexdigest()[:16]
