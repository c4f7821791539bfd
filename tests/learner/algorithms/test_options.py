"""What each option of a recipe does to an update, against numbers computed by hand."""

from typing import cast

import numpy as np
import pytest
import torch
from torch import nn

from learner.algorithms.critic import CriticEnsemble
from learner.algorithms.residual_sac import ResidualSAC
from tests.support.batches import batch_of
from tests.support.helpers import make_config


def make(*words: str) -> ResidualSAC:
    return ResidualSAC(make_config("algo.residual_every=4", *words).algo, 5, 2, seed=0, device="cpu")


class Members(nn.Module):
    """Target critics that say what they are: member i is worth values[i] everywhere."""

    def __init__(self, *values: float) -> None:
        super().__init__()
        self.values, self.seen = torch.tensor(values), torch.empty(0)

    def forward(
        self, observation: torch.Tensor, features: torch.Tensor, members: torch.Tensor
    ) -> torch.Tensor:
        self.seen = features
        return self.values[members, None].expand(-1, len(observation))


def set_target(algorithm: ResidualSAC, *values: float) -> Members:
    """Let each target critic be worth one of `values` everywhere."""
    members = Members(*values)
    algorithm.target_critic = cast(CriticEnsemble, members)
    return members


def test_the_target_is_the_minimum_of_a_fresh_random_subset_of_the_critics():
    algorithm = make("algo.critics=4", "algo.entropy_in_target=false", "algo.target_clip=null")
    set_target(algorithm, 1.0, 2.0, 3.0, 4.0)
    batch = batch_of(rows=1) | {"reward": torch.zeros(1)}
    targets = [algorithm.bootstrap_target(batch).item() / 0.9 for _ in range(1200)]
    # Of the six pairs, three hold member 1, two more member 2, and one is 3 with 4.
    for value, share in ((1.0, 3 / 6), (2.0, 2 / 6), (3.0, 1 / 6)):
        assert abs(np.isclose(targets, value).mean() - share) < 0.05
    assert not np.isclose(targets, 4.0).any()


def test_the_target_of_two_critics_is_their_minimum():
    algorithm = make("algo.critics=2", "algo.target_clip=null")
    set_target(algorithm, 3.0, 0.5)
    batch = batch_of(rows=2)
    torch.testing.assert_close(algorithm.bootstrap_target(batch), torch.full((2,), -1 + 0.9 * 0.5))


def test_target_noise_is_cut_and_zero_noise_is_none():
    words = ("algo.critics=4", "algo.residual_shape=chunk", "algo.clip_action=false")
    algorithm = make(*words, "algo.target_noise_std=5", "algo.target_noise_clip=0.25")
    target = set_target(algorithm, 0.0, 0.0, 0.0, 0.0)
    algorithm.bootstrap_target(batch_of(rows=200))
    # A fresh deterministic residual is zero; noise of deviation 5 is nearly always cut.
    residual = target.seen[:, 8:]
    assert residual.abs().max() == 0.25
    assert (residual.abs() == 0.25).float().mean() > 0.9
    algorithm = make(*words, "algo.target_noise_std=0")
    target = set_target(algorithm, 0.0, 0.0, 0.0, 0.0)
    algorithm.bootstrap_target(batch_of())
    assert not target.seen[:, 8:].any()


def test_the_sum_is_clipped_in_the_target_and_in_the_actor():
    words = (
        "algo.critics=4",
        "algo.residual_shape=chunk",
        "algo.critic_input=sum",
        "algo.target_noise_std=0",
    )
    for clip, top in ((True, 1.0), (False, 1.05)):
        algorithm = make(*words, f"algo.clip_action={clip}", "algo.residual_scale=0.1")
        nn.init.constant_(algorithm.actor.head.bias, 20.0)  # tanh = 1 in every number
        batch = batch_of() | {"next_base_plan": torch.full((16, 8), 0.95)}
        target = set_target(algorithm, 0.0, 0.0, 0.0, 0.0)
        algorithm.bootstrap_target(batch)
        torch.testing.assert_close(target.seen, torch.full((16, 8), top))
        nn.init.constant_(algorithm.actor.head.bias, 0.0)
        # At the bound nothing pushes on, so that the actor has no gradient there.
        plan = torch.full((16, 8), 1.0)
        residual = torch.full((16, 8), 0.5, requires_grad=True)
        algorithm._action_features(plan, residual).sum().backward()
        assert residual.grad is not None
        torch.testing.assert_close(residual.grad, torch.full((16, 8), 0.0 if clip else 0.1))


def test_each_network_has_a_learning_rate_of_its_own():
    rates = ("algo.actor_lr=0.01", "algo.critic_lr=0.002", "algo.actor_delay=1", "algo.grad_clip=null")
    algorithm = make(*rates, "algo.critic_warmup_updates=0", "algo.residual_penalty=0")
    actor, critic = algorithm.actor.head.bias.clone(), algorithm.critic.layers[-1].bias.clone()
    algorithm.update(batch_of())
    # The first step of Adam is its learning rate in the direction of the gradient.
    moved = (algorithm.actor.head.bias - actor).abs()
    torch.testing.assert_close(moved, torch.full_like(moved, 0.01), rtol=1e-3, atol=1e-5)
    moved = (algorithm.critic.layers[-1].bias - critic).abs()
    torch.testing.assert_close(moved, torch.full_like(moved, 0.002), rtol=1e-3, atol=1e-5)


def member_norms(critic: CriticEnsemble) -> list[float]:
    gradients = [parameter.grad for parameter in critic.parameters() if parameter.grad is not None]
    return [torch.cat([g[member].flatten() for g in gradients]).norm().item() for member in range(2)]


def test_the_gradient_of_each_critic_is_clipped_by_its_own_norm():
    critic = CriticEnsemble(make_config("algo.critics=2", "algo.hidden=[1]").algo, 1, 1)
    for parameter in critic.parameters():
        parameter.grad = torch.zeros_like(parameter)
    weight, bias = critic.stack[0].grad, critic.stack[1].grad
    assert weight is not None and bias is not None
    # Norms 5 and 0.5.
    weight[0, :, 0], bias[0, 0, 0] = torch.tensor([3.0, 0.0]), 4.0
    weight[1, 0, 0] = 0.5
    critic.clip_gradients(2.0)
    torch.testing.assert_close(weight[0, :, 0], torch.tensor([1.2, 0.0]))
    assert bias[0].item() == pytest.approx(1.6)
    assert weight[1, 0, 0].item() == 0.5


def test_an_update_clips_each_network_alone():
    algorithm = make(
        "algo.grad_clip=0.5", "algo.critics=2", "algo.critic_warmup_updates=0", "algo.actor_delay=1"
    )
    algorithm.update(batch_of() | {"reward": torch.full((16,), 1000.0)})
    assert member_norms(algorithm.critic) == pytest.approx([0.5, 0.5], rel=1e-3)
    actor = [
        parameter.grad.norm() for parameter in algorithm.actor.parameters() if parameter.grad is not None
    ]
    assert torch.stack(actor).norm().item() <= 0.5 * (1 + 1e-3)


@pytest.mark.parametrize(
    ("words", "temperature"),
    [
        (("algo.initial_temperature=1.0",), 1.0),
        (("algo.initial_temperature=0.2",), 0.2),
        (("algo.initial_temperature=0.0", "algo.learn_temperature=false"), 0.0),
    ],
)
def test_the_temperature_starts_as_configured(words: tuple[str, ...], temperature: float):
    algorithm = make("algo=policy_decorator", *words)
    assert algorithm.target_entropy == -8.0
    assert algorithm.temperature.item() == pytest.approx(temperature)
    algorithm.update(batch_of())
    assert (algorithm.temperature.item() == pytest.approx(temperature, abs=1e-9)) == (
        "algo.learn_temperature=false" in words
    )


def test_noise_on_observations_is_as_wide_as_their_scale_and_new_in_each_update():
    algorithm = make("algo.observation_noise=0.5")
    deviations = np.array([1, 2, 0.5, 4, 1])
    data = np.random.default_rng(0).normal(size=(4000, 5)) * deviations
    algorithm.scale_observations(torch.tensor(data, dtype=torch.float32))
    batch = batch_of()
    batch |= {name: torch.zeros(4000, 5) for name in ("observation", "next_observation")}
    first, second = algorithm._seen(batch), algorithm._seen(batch)
    for name in ("observation", "next_observation"):
        torch.testing.assert_close(
            first[name].std(dim=0), torch.tensor(deviations / 2).float(), rtol=0.1, atol=0
        )
        assert not torch.equal(first[name], second[name])
    assert not torch.equal(first["observation"], first["next_observation"])
    assert all(first[name] is batch[name] for name in batch if "observation" not in name)
    unchanged = make("algo.observation_noise=0")._seen(batch)
    assert all(torch.equal(unchanged[name], batch[name]) for name in batch)


def test_entropy_may_stay_out_of_the_target():
    for inside in (True, False):
        algorithm = make(
            "algo=policy_decorator", f"algo.entropy_in_target={inside}", "algo.initial_temperature=0.5"
        )
        set_target(algorithm, 1.0, 1.0)
        batch = batch_of()
        state = algorithm._rng.get_state()
        target = algorithm.bootstrap_target(batch)
        algorithm._rng.set_state(state)
        sample = algorithm.actor.sample(batch["next_observation"], batch["next_base_plan"], algorithm._rng)
        bonus = 0.5 * sample.log_prob if inside else torch.zeros(16)
        torch.testing.assert_close(target, -1 + 0.9 * (1 - bonus))


def test_heads_a_deterministic_one_has_no_entropy_and_a_gaussian_one_starts_close_to_the_base():
    observation, plan = torch.randn(64, 5), torch.rand(64, 8)
    deterministic = make("algo.head=deterministic").actor
    sample = deterministic.sample(observation, plan)
    assert not sample.residual.any() and not sample.log_prob.any()
    gaussian = make("algo=policy_decorator").actor
    assert gaussian.mode(observation, plan).abs().max() < 0.1
    # Its deviation starts in the middle of the range: exp(-20 + 22 / 2).
    _, log_std = gaussian(observation, plan)
    assert log_std is not None and log_std.mean().item() == pytest.approx(-9, abs=0.5)
    assert make("algo=policy_decorator", "algo.last_layer_gain=0").actor.mode(observation, plan).any() == 0


@pytest.mark.parametrize("norm", [False, True])
def test_stacked_critics_equal_separate_networks(norm: bool):
    words = ("algo.critics=3", "algo.hidden=[7,6]", f"algo.critic_layer_norm={norm}")
    critic = CriticEnsemble(make_config("algo.residual_every=4", *words).algo, 5, 8)
    observation, action = torch.randn(4, 5), torch.randn(4, 8)
    together = critic(observation, action)
    assert together.shape == (3, 4)
    linears = [layer for layer in critic.layers if hasattr(layer, "weight")]
    for member in range(3):
        x = torch.cat([observation, action], dim=1)
        for layer in linears[:-1]:
            x = x @ layer.weight[member] + layer.bias[member]
            x = torch.relu(nn.functional.layer_norm(x, x.shape[1:]) if norm else x)
        value = (x @ linears[-1].weight[member] + linears[-1].bias[member])[:, 0]
        torch.testing.assert_close(together[member], value)
    assert not torch.allclose(together[0], together[1])


def test_the_published_recipe_stays_as_published():
    """Policy Decorator (arXiv 2412.13630), PegInsertionSide with a diffusion base."""
    algo = make_config("algo=policy_decorator").algo
    published = dict(
        residual_every=4, residual_scale=0.1, mask_by="decisions", mask_horizon=30000, learning_starts=8000,
        uniform_until_learning=True, scale_observations="off",
        head="gaussian", actor_input="obs", critic_input="sum", hidden=(256, 256, 256), last_layer_gain=0.01,
        critics=2, gamma=0.97, n_step=1, reward="sparse_minus_one",
        target_clip=None, clip_action=False, batch_size=1024, prior_fraction=0.0, utd=0.25,
        actor_lr=1e-4, critic_lr=1e-4, actor_delay=1, critic_warmup_updates=0, grad_clip=50.0,
        initial_temperature=1.0, learn_temperature=True, entropy_in_target=True,
        noise_std=0.0, residual_penalty=0.0, actor_pessimism=None,
    )  # fmt: skip
    assert {name: getattr(algo, name) for name in published} == published
