"""Losses, target and temperature against numbers computed by hand."""

import math

import pytest
import torch

from learner.algorithms import losses
from learner.algorithms.critic import CriticEnsemble
from learner.algorithms.residual_sac import ResidualSAC
from tests.support.batches import batch_of
from tests.support.helpers import make_config


def test_soft_target_matches_the_hand_computed_number():
    target = losses.soft_target(
        reward=torch.tensor([1.0, -1.0, 0.5]),
        discount=torch.tensor([0.9, 0.81, 0.0]),
        next_q=torch.tensor([[2.0, 3.0, 100.0], [4.0, 1.0, 100.0]]),
        next_log_prob=torch.tensor([0.5, -1.0, 7.0]),
        temperature=torch.tensor(0.2),
        clip=None,
    )
    expected = [1 + 0.9 * (2 - 0.1), -1 + 0.81 * (1 + 0.2), 0.5]
    torch.testing.assert_close(target, torch.tensor(expected))


def test_critics_see_the_sum_or_both_or_the_residual_alone():
    plan, residual = torch.tensor([[0.5, -0.25]]), torch.tensor([[1.0, -0.5]])
    seen = {kind: losses.critic_features(plan, residual, 0.1, kind) for kind in ("sum", "concat", "residual")}
    torch.testing.assert_close(seen["sum"], torch.tensor([[0.6, -0.3]]))
    assert seen["concat"].tolist() == [[0.5, -0.25, 1.0, -0.5]] and seen["residual"].tolist() == [[1.0, -0.5]]


def test_of_chosen_noise_critics_and_actor_need_no_plan():
    algo = make_config("algo=dsrl", "algo.residual_every=4").algo
    states = []
    for plans in (0.0, 1.0):
        algorithm = ResidualSAC(algo, 5, 2, seed=0, device="cpu")
        batch = batch_of()
        batch |= {name: torch.full_like(batch[name], plans) for name in ("base_plan", "next_base_plan")}
        algorithm.update(batch)
        states.append([*algorithm.critic.state_dict().values(), *algorithm.actor.state_dict().values()])
    assert all(torch.equal(one, other) for one, other in zip(*states, strict=True))


def test_target_is_clipped_to_the_reachable_range():
    target = losses.soft_target(
        torch.tensor([1.0, -1.0]), torch.tensor([0.9, 0.9]), torch.tensor([[2.0, 0.1]]),
        torch.zeros(2), torch.tensor(0.0), clip=(0.0, 1.0),
    )  # fmt: skip
    assert target.tolist() == [1.0, 0.0]


def test_critic_loss_sums_the_members_mean_squared_errors():
    loss = losses.critic_loss(torch.tensor([[1.0, 3.0], [0.0, 2.0]]), torch.tensor([0.0, 1.0]))
    assert loss.item() == pytest.approx((1 + 4) / 2 + (0 + 1) / 2)


def test_actor_loss_matches_the_hand_computed_number():
    loss = losses.actor_loss(
        torch.tensor([1.0, 2.0]), torch.tensor([0.5, -0.5]), torch.tensor(0.1),
        residual=torch.tensor([[0.5, 0.5], [1.0, 0.0]]), penalty=0.4,
    )  # fmt: skip
    assert loss.item() == pytest.approx(((0.05 - 1) + (-0.05 - 2)) / 2 + 0.4 * (0.25 + 0.25 + 1) / 4)


def test_temperature_loss_and_its_gradient_match_the_hand_computed_numbers():
    log_temperature = torch.tensor(math.log(0.5), requires_grad=True)
    loss = losses.temperature_loss(log_temperature, torch.tensor([-2.0, 4.0]), target_entropy=-3.0)
    assert loss.item() == pytest.approx(-0.5 * (1 - 3))
    loss.backward()
    assert log_temperature.grad.item() == pytest.approx(1.0)


def test_pessimism_lowers_what_the_members_disagree_about():
    q = torch.tensor([[1.0, 2.0], [3.0, 2.0]])
    assert losses.pessimistic(q, None).tolist() == [1.0, 2.0]
    assert losses.pessimistic(q, 0.0).tolist() == [2.0, 2.0]
    torch.testing.assert_close(losses.pessimistic(q, 1.0), torch.tensor([2 - math.sqrt(2), 2.0]))


def test_critic_sees_the_residual_that_the_environment_executes():
    base, residual = torch.tensor([[0.95, -0.5]]), torch.tensor([[1.0, 1.0]])
    executed = losses.executed_residual(base, residual, scale=0.1, clip=True)
    torch.testing.assert_close(executed, torch.tensor([[0.5, 1.0]]))
    assert torch.equal(losses.executed_residual(base, residual, 0.1, clip=False), residual)
    features = losses.critic_features(base, residual, 0.1, "sum")
    torch.testing.assert_close(features, torch.tensor([[1.05, -0.4]]))
    assert losses.critic_features(base, residual, 0.1, "concat").tolist() == [[*base[0], *residual[0]]]


def test_squashed_gaussian_log_prob_matches_the_change_of_variables():
    config = make_config("algo=policy_decorator")
    algorithm = ResidualSAC(config.algo, 5, 2, seed=0, device="cpu")
    observation, base_plan = torch.randn(3, 5), torch.randn(3, 8)
    sample = algorithm.actor.sample(observation, base_plan, torch.Generator().manual_seed(1))
    mean, log_std = algorithm.actor(observation, base_plan)
    raw = torch.atanh(sample.residual)
    gaussian = torch.distributions.Normal(mean, log_std.exp()).log_prob(raw)
    expected = (gaussian - torch.log(1 - sample.residual.square() + 1e-6)).sum(-1)
    torch.testing.assert_close(sample.log_prob, expected, rtol=1e-3, atol=1e-3)


def test_the_published_target_is_reproduced_from_its_parts():
    config = make_config("algo=policy_decorator")
    algorithm = ResidualSAC(config.algo, 5, 2, seed=0, device="cpu")
    batch = batch_of()
    state = algorithm._rng.get_state()
    target = algorithm.bootstrap_target(batch)
    algorithm._rng.set_state(state)
    sample = algorithm.actor.sample(batch["next_observation"], batch["next_base_plan"], algorithm._rng)
    action = batch["next_base_plan"] + 0.1 * sample.residual
    q = algorithm.target_critic(batch["next_observation"], action).min(0).values
    torch.testing.assert_close(target, -1 + 0.9 * (q - 1.0 * sample.log_prob))
    nothing_after = algorithm.bootstrap_target(batch_of(discount=0.0))
    assert nothing_after.tolist() == [-1.0] * 16


def test_target_networks_move_by_tau_and_temperature_learns():
    config = make_config("algo=policy_decorator")
    algorithm = ResidualSAC(config.algo, 5, 2, seed=0, device="cpu")
    before = [p.clone() for p in algorithm.target_critic.parameters()]
    algorithm.update(batch_of())
    for old, new, online in zip(
        before, algorithm.target_critic.parameters(), algorithm.critic.parameters(), strict=True
    ):
        torch.testing.assert_close(new, 0.99 * old + 0.01 * online)
    assert algorithm.temperature.item() != 1.0


def test_the_actor_waits_for_the_critics_warm_up():
    config = make_config("algo.critic_warmup_updates=3", "algo.actor_delay=2", "algo.residual_every=4")
    algorithm = ResidualSAC(config.algo, 5, 2, seed=0, device="cpu")
    moved = []
    for _ in range(6):
        before = algorithm.actor.head.weight.clone()
        algorithm.update(batch_of())
        moved.append(not torch.equal(before, algorithm.actor.head.weight))
    assert moved == [False, False, False, True, False, True]


def test_two_learners_with_one_seed_are_equal_to_the_bit():
    config = make_config("algo.critic_warmup_updates=0", "algo.residual_every=4")
    pair = [ResidualSAC(config.algo, 5, 2, seed=4, device="cpu") for _ in range(2)]
    for algorithm in pair:
        for _ in range(3):
            algorithm.update(batch_of())
    for one, other in zip(pair[0].actor.parameters(), pair[1].actor.parameters(), strict=True):
        assert torch.equal(one, other)


def test_some_members_are_evaluated_as_among_all() -> None:
    algo = make_config("algo=residual_td3").algo
    critic = CriticEnsemble(algo, 5, 6)
    observation, action, members = torch.randn(7, 5), torch.randn(7, 6), torch.tensor([2, 0])
    some = critic(observation, action, members)
    torch.testing.assert_close(some, critic(observation, action)[members])
