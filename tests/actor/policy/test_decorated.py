"""The composition of base and residual."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from actor.policy.decorated import DecoratedPolicy, EvaluatedPolicy
from actor.policy.diffusion.base import DiffusionBase
from actor.policy.residual import ResidualActor
from config.compose import compose_config
from config.section import ConfigError
from protocol.messages import BASE_ALONE
from tests.support.behaviour import residual_acts
from tests.support.diffusion import base_keys, small_agent
from tests.support.fakes import CountingBase
from tests.support.helpers import make_config, make_policy
from tests.support.second_device import second_device


@pytest.mark.parametrize("native", [False, True])
def test_residual_off_equals_base_to_the_bit(native):
    base = DiffusionBase(small_agent(prediction_type="sample", normalize=True), 4, 4, native=native)
    policy = make_policy(base, make_config("algo.residual_every=4"), 6, 4)
    assert policy.behaviour == BASE_ALONE
    observation = torch.randn(6, 5)
    policy.begin(observation)
    plan = base.plan(observation[:, None].repeat(1, 2, 1), base_keys(6))
    for frame in range(4):
        assert torch.equal(policy.act().action, plan[:, frame].clamp(-1, 1))
        policy.observe(observation)


def test_mask_gates_whole_decisions_with_its_probability():
    config = make_config("algo.residual_every=4", "algo.residual_shape=chunk", "algo.residual_dims=null")
    policy = make_policy(CountingBase(), config, 4000, 4)
    policy.behaviour = residual_acts(0.25, uniform=True)
    policy.begin(torch.zeros(4000, 3))
    residual = policy.act().residual
    acted = residual.flatten(1).abs().amax(1) > 0
    assert abs(acted.float().mean().item() - 0.25) < 0.03
    assert (residual[acted].flatten(1) != 0).all()


def test_a_held_residual_is_the_same_in_every_frame_of_its_decision():
    config = make_config("algo.residual_every=4", "algo.residual_shape=constant", "algo.residual_dims=[0]")
    policy = make_policy(CountingBase(), config, 8, 4)
    policy.behaviour = residual_acts(1.0, noise_std=0.5)
    policy.begin(torch.zeros(8, 3))
    residual = policy.act().residual
    assert residual.abs().max() > 0
    assert torch.equal(residual, residual[:, :1].expand_as(residual))


def test_noise_ladder_leaves_the_first_sub_environment_without_noise():
    config = make_config("algo.residual_every=4")
    policy = make_policy(CountingBase(), config, 4, 4)
    policy.behaviour = residual_acts(1.0, noise_std=0.5, noise_ladder=True)
    policy.begin(torch.zeros(4, 3))
    residual = policy.act().residual
    assert not residual[0].any() and residual[3].abs().max() > 0


def test_a_fresh_deterministic_residual_starts_as_the_base():
    config = make_config("algo.residual_every=4")
    policy = make_policy(CountingBase(), config, 4, 4)
    policy.behaviour = residual_acts(1.0)
    policy.begin(torch.randn(4, 3))
    assert not policy.act().residual.any()


def test_only_the_chosen_action_numbers_are_corrected():
    config = make_config("algo.residual_every=2", "algo.residual_dims=[1]", "algo.residual_shape=chunk")
    policy = make_policy(CountingBase(), config, 4, 2)
    policy.behaviour = residual_acts(1.0, uniform=True)
    policy.begin(torch.zeros(4, 3))
    residual = policy.act().residual
    assert not residual[:, :, 0].any() and (residual[:, :, 1] != 0).all()
    assert not torch.equal(residual[:, 0, 1], residual[:, 1, 1])


def test_noise_lasts_for_its_decisions_and_ends_with_the_episode():
    config = make_config("algo.residual_every=1")
    policy = make_policy(CountingBase(), config, 2, 1)
    policy.behaviour = residual_acts(1.0, noise_std=0.5, noise_decisions=3)
    policy.begin(torch.zeros(2, 3))
    drawn = [policy.act().residual[:, 0, 0].clone() for _ in range(4)]
    assert torch.equal(drawn[0], drawn[1]) and torch.equal(drawn[1], drawn[2])
    assert (drawn[2] != drawn[3]).all()
    policy.begin(torch.zeros(2, 3), torch.tensor([True, False]))
    after = policy.act().residual[:, 0, 0]
    assert after[0] != drawn[3][0] and after[1] == drawn[3][1]
    policy.behaviour = residual_acts(1.0, noise_std=0.5, noise_probability=0.0)
    policy.begin(torch.zeros(2, 3))
    assert not policy.act().residual.any()


def tuned_policy(*words: str, kind: type[DecoratedPolicy] = DecoratedPolicy) -> DecoratedPolicy:
    """Of a run that trains its base."""
    settings = ("algo.residual_every=2", "algo.residual_dims=[1]", "algo.residual_scale=0.5")
    config = compose_config(["algo=rejection_sampling", *settings, *words])
    return kind.of(config, CountingBase(), num_envs=3, first_seed=0)


def test_a_base_that_plays_alone_is_pushed_in_the_chosen_dimensions() -> None:
    assert compose_config(["algo=rejection_sampling"]).algo.decides == "exploring"  # who acts in a run
    policy = tuned_policy()
    policy.adopt(1, {}, residual_acts(1.0, noise_std=0.5, noise_decisions=2))
    policy.begin(torch.zeros(3, 3))
    first, *others = [policy.act() for _ in range(6)]
    assert policy.changes.tolist() == [False, True]
    assert not first.residual[:, :, 0].any() and (first.residual[:, :, 1] != 0).all()
    assert torch.equal(first.residual[:, 0], first.residual[:, 1])
    assert [torch.equal(first.residual, later.residual) for later in others] == [True] * 3 + [False] * 2
    wanted = (first.base_plan + 0.5 * first.residual)[:, 0].clamp(-1, 1)
    assert torch.equal(first.action, wanted) and not torch.equal(first.action, first.base_plan[:, 0])


@pytest.mark.parametrize("words", [(), ("algo.noise_std=0",)])
def test_a_base_is_evaluated_without_pushes_and_plays_without_where_there_are_none(words: tuple[str]) -> None:
    policy = tuned_policy(*words, kind=DecoratedPolicy if words else EvaluatedPolicy)
    policy.adopt(1, {}, residual_acts(1.0, noise_std=0.5))
    policy.begin(torch.zeros(3, 3))
    chosen = policy.act()
    assert not chosen.residual.any() and torch.equal(chosen.action, chosen.base_plan[:, 0].clamp(-1, 1))


def test_pushes_of_a_dimension_that_actions_lack_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"algo\.residual_dims=\[2\] must lie in 0 \.\. 1"):
        tuned_policy("algo.residual_dims=[2]")


def test_residual_and_noise_stay_in_the_range_of_the_residual():
    config = make_config("algo.residual_every=4")
    policy = make_policy(CountingBase(), config, 500, 4)
    sender = ResidualActor(config.algo, 3, 2)
    torch.nn.init.constant_(sender.head.bias, 20.0)  # tanh = 1 in every number
    policy.adopt(1, sender.state_dict(), residual_acts(1.0, noise_std=0.5))
    policy.begin(torch.zeros(500, 3))
    residual = policy.act().residual
    # Noise of deviation 0.5 on top of 1: half of it is cut.
    assert residual.max() == 1 and residual.min() < 0.5
    assert abs((residual < 1).float().mean().item() - 0.5) < 0.08


def test_weights_of_the_release_before_play_if_the_residual_used_its_whole_range():
    config = make_config("algo.residual_every=4")
    policy = make_policy(CountingBase(), config, 1, 4)
    old = ResidualActor(config.algo, 3, 2).state_dict() | {"reach": torch.ones(1)}
    policy.adopt(1, old, residual_acts(1.0))
    with pytest.raises(RuntimeError, match=r"uses 0.25 of algo.residual_scale"):
        policy.adopt(2, old | {"reach": torch.full((1,), 0.25)}, residual_acts(1.0))


def test_a_mask_by_episodes_holds_until_the_episode_ends():
    config = make_config("algo.residual_every=1")
    policy = make_policy(CountingBase(), config, 4000, 1)
    policy.behaviour = residual_acts(0.25, mask_episodes=True, uniform=True)
    policy.begin(torch.zeros(4000, 3))
    acts = [policy.act().residual.flatten(1).any(1) for _ in range(3)]
    assert torch.equal(acts[0], acts[1]) and torch.equal(acts[1], acts[2])
    assert abs(acts[0].float().mean().item() - 0.25) < 0.03
    # A share that rises is for episodes that begin after it.
    policy.behaviour = residual_acts(1.0, mask_episodes=True, uniform=True)
    assert torch.equal(policy.act().residual.flatten(1).any(1), acts[0])
    policy.begin(torch.zeros(4000, 3), torch.arange(4000) < 2000)
    after = policy.act().residual.flatten(1).any(1)
    assert after[:2000].all() and torch.equal(after[2000:], acts[0][2000:])


@pytest.mark.parametrize("behaviour", [BASE_ALONE, residual_acts(1.0, noise_std=0.5)])
def test_an_evaluated_residual_does_not_depend_on_the_behaviour_of_the_weights(behaviour):
    config = make_config("algo.residual_every=4", "algo.residual_scale=0.5")
    policy = make_policy(CountingBase(), config, 6, 4, EvaluatedPolicy)
    made = ResidualActor(config.algo, 3, 2)
    torch.nn.init.constant_(made.head.bias, 20.0)  # tanh = 1 in every dimension
    policy.adopt(3, made.state_dict(), behaviour)
    observation = torch.rand(6, 3)
    policy.begin(observation)
    plan = CountingBase().plan(observation[:, None].expand(6, 2, 3), base_keys(6))
    for frame in range(4):
        assert torch.equal(policy.act().action, plan[:, frame] + 0.5)
        policy.observe(observation)


def test_the_plan_at_a_final_observation_is_the_one_that_would_have_come_next():
    base = DiffusionBase(small_agent(), 4, 4)
    policy = make_policy(base, make_config("algo.residual_every=4"), 3, 4)
    observations = torch.randn(5, 3, 5)
    policy.begin(observations[0])
    for observation in observations[1:4]:
        policy.act()
        policy.observe(observation)
    policy.act()
    ahead = policy.plan_at(observations[4], torch.arange(3)).plan
    policy.observe(observations[4])
    assert torch.equal(policy.act().base_plan, ahead)


def test_a_policy_on_another_device_takes_observations_of_the_host() -> None:
    base: Any = SimpleNamespace(
        obs_horizon=1, act_horizon=4, observation_dim=5, action_dim=3, cameras=(),
        plan=lambda history, keys, images: history[:, -1, :1, None].expand(-1, 4, 3) / 10,
    )  # fmt: skip
    first, second = torch.rand(3, 5), torch.rand(3, 5)

    def played(device: str) -> list[torch.Tensor]:
        policy = DecoratedPolicy.of(make_config(f"actor.device={device}"), base, num_envs=3, first_seed=1)
        policy.begin(first)
        actions = [policy.act().action]
        policy.observe(second)
        policy.begin(second, torch.tensor([True, False, True]))
        return [action.cpu() for action in (*actions, policy.act().action)]

    here = played("cpu")
    with second_device() as device:
        there = played(device)
    for ours, theirs in zip(here, there, strict=True):
        torch.testing.assert_close(ours, theirs)
