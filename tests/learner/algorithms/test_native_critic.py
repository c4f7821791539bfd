"""Native networks equal torch's own, forward and backward, and are only faster."""

from __future__ import annotations

import copy
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn

from actor.policy.native import perceptrons as mlp
from actor.policy.residual import ResidualActor
from config.main import Config
from learner.algorithms import adam
from learner.algorithms.critic import CriticEnsemble
from learner.algorithms.residual_sac import ResidualSAC
from tests.support.helpers import make_config

OBSERVATION, ACTION = 11, 7


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    libraries = mlp.library, adam.library
    assert all(library() is not None for library in libraries)
    yield
    torch.set_num_threads(threads)
    for library in libraries:
        library.cache_clear()


@pytest.fixture
def without_native(monkeypatch: pytest.MonkeyPatch):
    """Called, it leaves torch alone from then on."""

    def switch_off() -> None:
        monkeypatch.setattr(mlp, "library", lambda: None)
        monkeypatch.setattr(adam, "library", lambda: None)

    return switch_off


def shaken(network: nn.Module) -> nn.Module:
    torch.manual_seed(1)
    for tensor in network.parameters():
        tensor.data += 0.1 * torch.randn_like(tensor)
    network.observation_mean.normal_()  # type: ignore[operator]
    network.observation_scale.uniform_(0.5, 2.0)  # type: ignore[operator]
    return network


def far_from_kinks(network: nn.Module, *inputs: Tensor) -> Tensor:
    """Rows (B,) in which no ReLU sees almost zero, where rounding alone would decide about gradients."""
    least: list[Tensor] = []

    def look(_: nn.Module, seen: tuple[Tensor, ...]) -> None:
        least.append(seen[0].abs().amin(-1).reshape(-1, len(inputs[0])).amin(0))

    hooks = [m.register_forward_pre_hook(look) for m in network.modules() if isinstance(m, nn.ReLU)]
    if isinstance(network, ResidualActor):
        network._with_torch(inputs[0], inputs[1] if network.sees_base else None)
    else:
        network._with_torch(inputs[0], inputs[1][:, : inputs[1].shape[1] - network.linear_in], slice(None))  # type: ignore[operator]
    for hook in hooks:
        hook.remove()
    return torch.stack(least).amin(0) > 1e-4


def pass_and_gradients(network: nn.Module, rows: int, features: int, *, of_parameters: bool) -> list[Tensor]:
    """The output, and the gradients of a weighted sum of it."""
    torch.manual_seed(2)
    observation, action = torch.randn(rows, OBSERVATION), torch.randn(rows, features, requires_grad=True)
    out = network(observation, action)
    is_actor = isinstance(out, tuple)
    if is_actor:
        out = out[0] if out[1] is None else torch.cat(out, dim=-1)
    wanted = [*network.parameters()] if of_parameters else []
    if not is_actor or network.sees_base:
        wanted.append(action)
    kept = far_from_kinks(network, observation, action)
    weights = torch.randn_like(out) * (kept[:, None] if is_actor else kept)
    return [out.detach(), *torch.autograd.grad((out * weights).sum(), wanted)]


def assert_equal_to_rounding(ours: list[Tensor], theirs: list[Tensor]) -> None:
    for one, other in zip(ours, theirs, strict=True):
        assert one.shape == other.shape
        torch.testing.assert_close(one, other, rtol=0, atol=1e-5 * float(other.abs().max()))


SIZES = [
    ["algo.critics=4"],
    ["algo.critics=10", "algo.critic_layer_norm=false", "algo.actor_layer_norm=true"],
    ["algo.critics=1", "algo.hidden=[33]", "algo.target_critics=1"],
    ["algo.critics=3", "algo.hidden=[24,40,17]", "algo.head=gaussian", "algo.actor_input=obs"],
    ["algo.critic_input=linear", "algo.hidden=[65,130]"],
    ["algo=policy_decorator"],
]


@pytest.mark.parametrize("overrides", SIZES)
@pytest.mark.parametrize("rows", [1, 7, 256, 300])
@pytest.mark.parametrize("of_parameters", [True, False])
def test_outputs_and_every_gradient_equal_those_of_torch(
    overrides: list[str], rows: int, of_parameters: bool, without_native
) -> None:
    algo = make_config(*overrides).algo
    numbers = algo.residual_every * ACTION
    features = 2 * numbers if algo.critic_input in ("concat", "linear") else numbers
    critic = shaken(CriticEnsemble(algo, OBSERVATION, features))
    actor = shaken(ResidualActor(algo, OBSERVATION, ACTION))
    networks = [(critic, features), (actor, numbers)] if of_parameters else [(critic, features)]
    for network, _ in networks:
        network.requires_grad_(of_parameters)
    ours = [pass_and_gradients(n, rows, width, of_parameters=of_parameters) for n, width in networks]
    without_native()
    theirs = [pass_and_gradients(n, rows, width, of_parameters=of_parameters) for n, width in networks]
    for one, other in zip(ours, theirs, strict=True):
        assert_equal_to_rounding(one, other)


def test_the_gradient_of_relu_at_zero_is_zero() -> None:
    critic = CriticEnsemble(make_config("algo.critic_layer_norm=false").algo, OBSERVATION, 6)
    for tensor in critic.stack[:2]:
        tensor.data.zero_()
    critic(torch.randn(5, OBSERVATION), torch.randn(5, 6)).sum().backward()
    assert all(not tensor.grad.any() for tensor in critic.stack[:2])
    assert critic.stack[3].grad.any()


def test_members_chosen_are_evaluated_as_torch_does(without_native) -> None:
    critic = shaken(CriticEnsemble(make_config("algo.critics=5").algo, OBSERVATION, 6))
    observation, action, members = torch.randn(9, OBSERVATION), torch.randn(9, 6), torch.tensor([3, 0, 4])
    with torch.no_grad():
        ours = critic(observation, action, members)
        without_native()
        torch.testing.assert_close(ours, critic(observation, action, members), rtol=0, atol=1e-5)


def test_views_of_wider_rows_are_read_as_they_lie() -> None:
    critic = shaken(CriticEnsemble(make_config().algo, OBSERVATION, 6))
    wide = torch.randn(9, OBSERVATION + 6)
    observation, action = wide.split([OBSERVATION, 6], dim=1)
    assert torch.equal(critic(observation, action), critic(observation.contiguous(), action.contiguous()))


def test_what_is_not_a_number_stays_so() -> None:
    critic = CriticEnsemble(make_config().algo, OBSERVATION, 6)
    observation = torch.zeros(9, OBSERVATION)
    observation[4, 2] = float("nan")
    assert critic(observation, torch.zeros(9, 6)).isnan().any(dim=0).nonzero().flatten().tolist() == [4]


def test_two_backward_passes_of_two_forward_passes_do_not_mix() -> None:
    critic = shaken(CriticEnsemble(make_config().algo, OBSERVATION, 6))
    inputs = [(torch.randn(9, OBSERVATION), torch.randn(9, 6)) for _ in range(2)]
    alone = [torch.autograd.grad(critic(*given).sum(), critic.stack) for given in inputs]
    first, second = (critic(*given).sum() for given in inputs)
    together = torch.autograd.grad(second, critic.stack), torch.autograd.grad(first, critic.stack)
    for one, other in zip(alone, reversed(together), strict=True):
        assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def test_adam_and_targets_move_as_torch_moves_them(without_native) -> None:
    torch.manual_seed(0)
    ours = [nn.Parameter(torch.randn(3, 5)), nn.Parameter(torch.randn(17))]
    theirs = copy.deepcopy(ours)
    native, plain = adam.make_adam(ours, 1e-2), torch.optim.Adam(theirs, lr=1e-2)
    assert isinstance(native, adam.NativeAdam)
    for _ in range(20):
        for one, other in zip(ours, theirs, strict=True):
            one.grad = torch.randn_like(one)
            other.grad = one.grad.clone()
        native.step()
        plain.step()
    assert_equal_to_rounding([p.detach() for p in ours], [p.detach() for p in theirs])
    targets = [torch.randn_like(p) for p in ours]
    expected = [0.99 * target + 0.01 * p for target, p in zip(targets, ours, strict=True)]
    adam.move_towards(targets, [p.detach() for p in ours], 0.01)
    torch.testing.assert_close(targets, [tensor.detach() for tensor in expected])


def batch_of(config: Config, seed: int) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    rows, numbers = config.algo.batch_size, config.algo.residual_every * ACTION

    def uniform(*shape: int) -> Tensor:
        return 2 * torch.rand(shape, generator=generator) - 1

    return {
        "observation": uniform(rows, OBSERVATION),
        "base_plan": uniform(rows, numbers),
        "residual": uniform(rows, numbers),
        "reward": uniform(rows).sign().clamp_min(0),
        "discount": torch.full((rows,), 0.9),
        "next_observation": uniform(rows, OBSERVATION),
        "next_base_plan": uniform(rows, numbers),
    }


def trained(config: Config, updates: int) -> ResidualSAC:
    algorithm = ResidualSAC(config.algo, OBSERVATION, ACTION, seed=3, device="cpu")
    for seed in range(updates):
        algorithm.update(batch_of(config, seed))
    return algorithm


def weights_of(algorithm: ResidualSAC) -> dict[str, Tensor]:
    networks = {"a": algorithm.actor, "c": algorithm.critic, "t": algorithm.target_critic}
    return {
        f"{name}.{key}": value
        for name, network in networks.items()
        for key, value in network.state_dict().items()
    }


RECIPES = [
    ["algo.residual_dims=[0,1,2]"],
    ["algo.actor_update=advantage", "algo.critic_layer_norm=false"],
    ["algo=policy_decorator", "algo.hidden=[64,64]", "algo.batch_size=64"],
    ["algo.critic_input=linear", "algo.head=gaussian", "algo.batch_size=64"],
]


@pytest.mark.parametrize("overrides", RECIPES)
def test_fifty_updates_end_where_those_of_torch_end(overrides: list[str], without_native) -> None:
    config = make_config("algo.critic_warmup_updates=0", *overrides)
    ours = weights_of(trained(config, 50))
    without_native()
    theirs = weights_of(trained(config, 50))
    assert ours.keys() == theirs.keys()
    for name, value in ours.items():
        torch.testing.assert_close(value, theirs[name], atol=1e-3, rtol=0, msg=lambda m, n=name: f"{n}: {m}")


def test_the_same_updates_twice_are_equal_to_the_bit() -> None:
    config = make_config("algo.critic_warmup_updates=0")
    one, other = (weights_of(trained(config, 10)) for _ in range(2))
    assert all(torch.equal(value, other[name]) for name, value in one.items())


def test_several_threads_train_with_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> None:
        raise AssertionError("native code has one thread")

    torch.set_num_threads(2)
    monkeypatch.setattr(mlp, "library", refuse)
    monkeypatch.setattr(adam, "library", refuse)
    algorithm = trained(make_config("algo.critic_warmup_updates=0"), 1)
    assert type(algorithm._critic_optimizer) is torch.optim.Adam and algorithm.updates == 1


def test_without_a_compiler_updates_run_with_torch_and_say_so(monkeypatch, caplog) -> None:
    for module in (mlp, adam):
        module.library.cache_clear()
    monkeypatch.setenv("PATH", "/nowhere")
    algorithm = trained(make_config("algo.critic_warmup_updates=0"), 2)
    assert caplog.text.count("no C++ compiler") == 2
    assert type(algorithm._critic_optimizer) is torch.optim.Adam


def test_names_of_parameters_are_those_that_checkpoints_hold() -> None:
    algo = make_config("algo.hidden=[8]").algo
    assert list(CriticEnsemble(algo, 3, 4).state_dict()) == [
        "observation_mean", "observation_scale", "layers.0.weight", "layers.0.bias", "layers.1.scale",
        "layers.1.bias", "layers.3.weight", "layers.3.bias",
    ]  # fmt: skip
    assert list(ResidualActor(algo, 3, 2).state_dict()) == [
        "observation_mean", "observation_scale", "reach", "trunk.0.weight", "trunk.0.bias", "head.weight",
        "head.bias",
    ]  # fmt: skip
