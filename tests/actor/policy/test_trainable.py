"""A base whose weights are replaced while episodes go on."""

import msgspec
import pytest
import torch

from actor.policy.contract import CheckpointError
from actor.policy.decorated import EvaluatedPolicy
from actor.policy.diffusion.base import DiffusionBase
from actor.policy.spec import experience_spec
from actor.policy.trainable import TrainableBase, most_bytes, require_trainable
from config.compose import compose_config
from protocol.messages import PROTOCOL_VERSION, Hello
from protocol.session.compatibility import mismatch
from tests.support.diffusion import base_keys, small_agent
from tests.support.fakes import CountingBase


def base_of(shift: float = 0.0) -> DiffusionBase:
    agent = small_agent()
    for parameter in agent.parameters():
        parameter.data += shift
    return DiffusionBase(agent, 4, 4)


def playing(base: DiffusionBase, num_envs: int) -> EvaluatedPolicy:
    return EvaluatedPolicy(
        base, None, num_envs=num_envs, residual_every=4, residual_scale=1.0, device="cpu", first_seed=0
    )


def test_a_base_with_other_weights_plans_as_one_that_was_made_of_them() -> None:
    first, other = base_of(), base_of(0.01)
    history = torch.randn(3, 2, 5)
    before = first.plan(history, base_keys(3))
    made = first.with_weights(other.weights())
    assert torch.equal(made.plan(history, base_keys(3)), other.plan(history, base_keys(3)))
    assert torch.equal(first.plan(history, base_keys(3)), before) and made.fingerprint == other.fingerprint


def test_weights_of_another_network_are_refused_in_one_line() -> None:
    with pytest.raises(CheckpointError, match="weights of another network") as refused:
        base_of().with_weights({"x": torch.zeros(1)})
    assert "\n" not in str(refused.value)


def test_a_base_without_weights_cannot_be_trained() -> None:
    assert isinstance(base_of(), TrainableBase) and most_bytes(base_of()) > 1 << 20
    assert most_bytes(CountingBase()) == 0
    with pytest.raises(CheckpointError, match="base none has no weights to train: choose base=diffusion"):
        require_trainable(CountingBase(), "none")


def test_a_newer_base_plays_from_the_next_episode_on_and_a_third_one_waits() -> None:
    first, second = base_of(), base_of(0.01)
    policy, observation = playing(first, 2), torch.randn(2, 5)
    policy.begin(observation)
    policy.adopt_base(7, dict(second.weights()))
    history = observation[:, None].repeat(1, 2, 1)
    assert not policy.has_room
    chosen = policy.act()
    assert torch.equal(chosen.base_plan, first.plan(history, base_keys(2)))
    assert chosen.optional["base_version"].tolist() == [0, 0]
    # The second sub-environment begins an episode, of seed 3.
    policy.begin(observation, torch.tensor([False, True]))
    for _ in range(3):
        policy.act()
    chosen = policy.act()
    assert chosen.optional["base_version"].tolist() == [0, 7] and not policy.has_room
    policy.begin(observation, torch.tensor([True, False]))
    assert policy.has_room and policy.base_version == 7
    assert policy.act().optional["base_version"].tolist() == [7, 7]


def test_sub_environments_of_two_bases_plan_as_each_alone() -> None:
    first, second = base_of(), base_of(0.01)
    mixed, old, new = playing(first, 4), playing(first, 4), playing(second, 4)
    observation = torch.randn(4, 5)
    fresh = torch.tensor([False, True, False, True])
    for policy in (mixed, old, new):
        policy.begin(observation)
        if policy is mixed:
            policy.adopt_base(1, dict(second.weights()))
        policy.begin(observation, fresh)
    plans = [policy.act().base_plan for policy in (mixed, old, new)]
    assert torch.equal(plans[0][~fresh], plans[1][~fresh])
    assert torch.equal(plans[0][fresh], plans[2][fresh])
    assert not torch.equal(plans[1][fresh], plans[2][fresh])


def test_rows_say_their_base_where_it_is_trained_and_a_learner_of_a_frozen_one_refuses_them() -> None:
    trained, frozen = (experience_spec(compose_config(words), CountingBase()) for words in (["algo=sft"], []))
    assert trained.optional_columns == ("base_version",) and frozen.optional_columns == ()
    hello = Hello(
        protocol_version=PROTOCOL_VERSION, actor_id="peg-0", session=1, role="actor", first_sequence=0,
        spec=msgspec.structs.replace(frozen, optional_columns=trained.optional_columns),
    )  # fmt: skip
    said = mismatch(hello, frozen)
    assert said is not None and "offers optional_columns ('base_version',)" in said
    assert mismatch(msgspec.structs.replace(hello, spec=trained), trained) is None
