"""algo.residual_scale with one number for each dimension of an action: actor, replay, prior data and critics
mean the same by it, and what does not fit is refused."""

from pathlib import Path

import msgspec
import numpy as np
import pytest
import torch
from torch import nn

from actor.policy.spec import experience_spec
from config.compose import compose_config, config_text, read_config
from config.section import ConfigError
from learner.algorithms.residual_sac import ResidualSAC
from learner.replay.memory.columns import optional_shapes
from learner.replay.memory.ring import Ring
from learner.replay.prior.demonstration import Demonstration
from learner.replay.prior.maniskill import write_maniskill
from learner.replay.run import load_prior
from protocol.experience import ExperienceSpec
from protocol.messages import PROTOCOL_VERSION, Hello
from protocol.session.compatibility import mismatch
from tests.support.behaviour import residual_acts
from tests.support.fakes import CountingBase
from tests.support.helpers import collect, make_config, make_policy
from tests.support.interventions import ScriptedSource, intervention_spec, taken_over

# Plans of the counting base from frame 100 on: 0.1, 0.11, 0.12, 0.13, in both dimensions.
WORDS = ("algo.residual_every=4", "algo.residual_scale=[0.1,2]")


def make_algorithm(*words: str) -> ResidualSAC:
    return ResidualSAC(make_config(*WORDS, *words).algo, 3, 2, seed=0, device="cpu")


def test_an_actor_adds_to_each_dimension_what_it_may() -> None:
    policy = make_policy(CountingBase(), make_config(*WORDS, "algo.last_layer_gain=5"), 3, 4)
    policy.behaviour = residual_acts(1.0)
    policy.begin(torch.full((3, 3), 100.0))
    chosen = policy.act()
    assert chosen.residual.any()
    wanted = chosen.base_plan[:, 0] + chosen.residual[:, 0] * torch.tensor([0.1, 2.0])
    torch.testing.assert_close(chosen.action, wanted.clamp(-1, 1))


def test_prior_data_has_the_residual_that_leads_to_the_recorded_action(tmp_path: Path) -> None:
    observations = np.zeros((5, 3), np.float32)
    observations[:, 0] = 100 + np.arange(5)
    actions = np.float32([[0.1, 0.1], [0.16, 0.61], [0.02, -0.88], [0.43, 1.0]])
    write_maniskill(tmp_path / "a.h5", [Demonstration(observations, actions, np.arange(4) == 3)])
    prior = load_prior(make_config(*WORDS, f"learner.demos={tmp_path}/a.h5"), CountingBase())
    assert prior is not None and prior.clipped_share == pytest.approx(1 / 8)
    wanted = [[0, 0], [0.5, 0.25], [-1, -0.5], [1, 0.435]]
    np.testing.assert_allclose(prior.columns["residual"][0], wanted, atol=1e-5)


def test_what_somebody_did_is_recorded_within_reach_and_learned_from_as_it_was() -> None:
    source = ScriptedSource({1: {0: [0.16, 0.61]}, 2: {0: [0.92, -0.88]}})
    columns = collect(taken_over(source, [[4]], *WORDS), 4)
    np.testing.assert_allclose(columns["residual"][0, 1:3], [[0.5, 0.25], [1, -0.5]], atol=1e-5)
    ring = Ring(64, 3, 8, optional=optional_shapes(intervention_spec()), residual_scale=(0.1, 2.0))
    ring.add("a", columns)
    batch = ring.sample(1, np.random.default_rng(0), n_step=1, gamma=0.9, reward_offset=0.0)
    learned = batch.residual.view(4, 2)[1:3]
    torch.testing.assert_close(learned, torch.tensor([[0.5, 0.25], [8, -0.5]]), atol=1e-4, rtol=0)
    seen = make_algorithm("algo.critic_input=sum")._action_features(batch.base_plan, batch.residual)
    torch.testing.assert_close(seen.view(4, 2), torch.from_numpy(columns["action"][0]), atol=1e-5, rtol=0)


def test_critics_see_what_is_left_of_a_residual_where_the_action_ends() -> None:
    """The plan is 0.95: a whole residual of 0.1 is cut to .5 of itself, one of 2 to .025."""
    algorithm = make_algorithm("algo.residual_shape=chunk", "algo.clip_action=true")
    nn.init.constant_(algorithm.actor.head.bias, 20.0)  # tanh = 1 in every number
    plan = torch.full((16, 8), 0.95)
    features = algorithm._action_features(plan, algorithm.actor.mode(torch.zeros(16, 3), plan))
    torch.testing.assert_close(features[:, 8:], torch.tensor([0.5, 0.025]).repeat(16, 4), atol=1e-5, rtol=0)


def test_one_number_is_the_same_as_that_number_for_each() -> None:
    batch = torch.rand(16, 8), torch.rand(16, 8) * 2 - 1
    one = make_algorithm("algo.residual_scale=0.3")._action_features(*batch)
    each = make_algorithm("algo.residual_scale=[0.3,0.3]")._action_features(*batch)
    torch.testing.assert_close(one, each)


def test_both_sides_must_mean_the_same() -> None:
    spec = experience_spec(make_config(*WORDS), CountingBase())
    assert spec.residual_scale == (0.1, 2.0)
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(spec), type=ExperienceSpec) == spec
    theirs = msgspec.structs.replace(spec, residual_scale=0.1)
    hello = Hello(PROTOCOL_VERSION, "actor-0", 1, "actor", 0, theirs)
    reason = mismatch(hello, spec)
    assert reason is not None and reason.endswith("start it with algo.residual_scale=[0.1, 2.0]")


@pytest.mark.parametrize("numbers", ["[]", "[0.1,0]", "-1", "[0.1,-2]"])
@pytest.mark.parametrize("algo", ["residual_td3", "rejection_sampling"])
def test_numbers_that_reach_nowhere_are_refused(algo: str, numbers: str) -> None:
    with pytest.raises(ConfigError, match="residual_scale must be above 0, got"):
        compose_config([f"algo={algo}", f"algo.residual_scale={numbers}"])


@pytest.mark.parametrize("numbers", ["nan", "[0.1,nan]", "[0.1,inf]"])
def test_numbers_that_are_not_finite_are_refused(numbers: str) -> None:
    with pytest.raises(ConfigError, match=r"algo\.residual_scale.* must be a finite number"):
        compose_config([f"algo.residual_scale={numbers}"])


def test_a_list_for_other_actions_is_refused() -> None:
    config = make_config("algo.residual_scale=[0.1,0.1,2]")
    with pytest.raises(ConfigError, match="has 3 numbers, actions have 2 dimensions: give one number"):
        experience_spec(config, CountingBase())


def test_a_task_may_say_it_and_a_run_reads_it_again(tmp_path: Path) -> None:
    config = compose_config(["task.residual_scale=[0.3,0.3,0.3,0.3,0.3,0.3,2]"])
    assert config.algo.scale == (0.3,) * 6 + (2.0,)
    (tmp_path / "config.yaml").write_text(config_text(config))
    assert read_config(tmp_path / "config.yaml") == config
