"""Native networks equal torch's own, forward and backward, and are only faster."""

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn

from actor.policy.native import perceptrons
from actor.policy.residual import ResidualActor
from config.main import Config
from learner.algorithms.critic import CriticEnsemble
from learner.algorithms.residual_sac import ResidualSAC
from tests.support.helpers import make_config

OBSERVATION, ACTION = 11, 7


@pytest.fixture(autouse=True)
def _native() -> Iterator[None]:
    assert perceptrons.library() is not None
    yield
    perceptrons.library.cache_clear()


@pytest.fixture
def without_native(monkeypatch: pytest.MonkeyPatch):
    """Called, it leaves torch alone from then on."""
    return lambda: monkeypatch.setattr(perceptrons, "library", lambda: None)


Network = CriticEnsemble | ResidualActor


def shaken[N: Network](network: N) -> N:
    torch.manual_seed(1)
    for tensor in network.parameters():
        tensor.data += 0.1 * torch.randn_like(tensor)
    network.observation_mean.normal_()
    network.observation_scale.uniform_(0.5, 2.0)
    return network


def far_from_kinks(network: Network, *inputs: Tensor) -> Tensor:
    """Rows (B,) in which no ReLU sees almost zero, where rounding alone would decide about gradients."""
    least: list[Tensor] = []

    def look(_: nn.Module, seen: tuple[Tensor, ...]) -> None:
        least.append(seen[0].abs().amin(-1).reshape(-1, len(inputs[0])).amin(0))

    hooks = [m.register_forward_pre_hook(look) for m in network.modules() if isinstance(m, nn.ReLU)]
    if isinstance(network, ResidualActor):
        network._with_torch(inputs[0], inputs[1] if network.sees_base else None)
    else:
        network._with_torch(*inputs, slice(None))
    for hook in hooks:
        hook.remove()
    return torch.stack(least).amin(0) > 1e-4


def pass_and_gradients(network: Network, rows: int, features: int, *, of_parameters: bool) -> list[Tensor]:
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
    ["algo.critics=10", "algo.critic_layer_norm=false"],
    ["algo.critics=1", "algo.hidden=[33]"],
    ["algo.critics=3", "algo.hidden=[24,40,17]", "algo.head=gaussian", "algo.actor_input=obs"],
    ["algo.critic_input=sum", "algo.hidden=[65,130]"],
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
    features = 2 * numbers if algo.critic_input == "concat" else numbers
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
    ["algo.critic_layer_norm=false", "algo.grad_clip=1"],
    ["algo=policy_decorator", "algo.hidden=[64,64]", "algo.batch_size=64"],
    ["algo.critic_input=sum", "algo.head=gaussian", "algo.batch_size=64"],
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


@pytest.mark.parametrize("threads", [1, 2])
def test_networks_are_native_with_any_number_of_torch_threads(threads: int, monkeypatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("torch computes a network")

    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        monkeypatch.setattr(CriticEnsemble, "_with_torch", refuse)
        monkeypatch.setattr(ResidualActor, "_with_torch", refuse)
        assert trained(make_config("algo.critic_warmup_updates=0"), 2).updates == 2
    finally:
        torch.set_num_threads(before)


def test_without_a_compiler_updates_run_with_torch_and_say_so(monkeypatch, caplog) -> None:
    perceptrons.library.cache_clear()
    monkeypatch.setenv("PATH", "/nowhere")
    assert trained(make_config("algo.critic_warmup_updates=0"), 2).updates == 2
    assert caplog.text.count("no C++ compiler") == 1


def test_names_of_parameters_are_those_that_checkpoints_hold() -> None:
    algo = make_config("algo.hidden=[8]").algo
    assert list(CriticEnsemble(algo, 3, 4).state_dict()) == [
        "observation_mean", "observation_scale", "layers.0.weight", "layers.0.bias", "layers.1.scale",
        "layers.1.bias", "layers.3.weight", "layers.3.bias",
    ]  # fmt: skip
    assert list(ResidualActor(algo, 3, 2).state_dict()) == [
        "observation_mean", "observation_scale", "trunk.0.weight", "trunk.0.bias", "head.weight",
        "head.bias",
    ]  # fmt: skip
