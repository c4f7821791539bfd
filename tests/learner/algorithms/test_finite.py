"""No weight, target or optimiser ever gets a value that is not finite, and the first such step is named.

Kinds of it that people reported: NaN and infinity in data, abnormal ranges of values (thu-ml/
RoboticsDiffusionTransformer#93, tensorflow/agents#622), a temperature that explodes (pranz24/
pytorch-soft-actor-critic#34), and gradients whose squares overflow.
"""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from actor.policy.finite import non_finite_value
from learner.algorithms.finite import CheckedSteps, DeferredSteps, FiniteSteps
from learner.algorithms.residual_sac import ResidualSAC
from tests.support.batches import batch_of
from tests.support.helpers import make_config

RECIPES = {
    "td3": ("algo=residual_td3", "algo.critic_warmup_updates=0"),
    "sac": ("algo=policy_decorator",),
    "unclipped sac": ("algo=policy_decorator", "algo.grad_clip=null"),
}
NAN, INF = float("nan"), float("inf")


def deferred() -> FiniteSteps:
    """What runs on a GPU."""
    return DeferredSteps(torch.device("cpu"))


def algorithm_of(recipe: str, steps: FiniteSteps | None = None, *words: str) -> ResidualSAC:
    algo = make_config("algo.residual_every=4", "algo.hidden=[16]", *RECIPES[recipe], *words).algo
    algorithm = ResidualSAC(algo, 5, 2, seed=0, device="cpu")
    algorithm._steps = steps or algorithm._steps
    return algorithm


def spoiled(field: str, value: float) -> dict[str, Tensor]:
    batch = batch_of()
    batch[field].view(len(batch[field]), -1)[3, 0] = value
    return batch


def networks(algorithm: ResidualSAC) -> list[Tensor]:
    every = algorithm.actor, algorithm.critic
    return [value.clone() for network in every for value in network.state_dict().values()]


@pytest.mark.parametrize("steps", [CheckedSteps, deferred])
@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("observation", NAN), ("observation", INF), ("base_plan", NAN), ("residual", NAN), ("reward", NAN),
        ("discount", NAN), ("next_observation", INF), ("next_base_plan", NAN),
    ],
)  # fmt: skip
def test_a_bad_batch_changes_no_network_and_the_first_step_of_it_is_named(
    field: str, value: float, recipe: str, steps: Callable[[], FiniteSteps]
) -> None:
    algorithm = algorithm_of(recipe, steps())
    for _ in range(2):
        algorithm.update(batch_of())
    assert algorithm.first_skipped() is None
    before = networks(algorithm)
    for batch in (spoiled(field, value), batch_of()):
        algorithm.update(batch)
    skipped = algorithm.first_skipped()
    assert skipped is not None and str(skipped) == "update 3: the critic's loss is nan"
    assert all(torch.equal(one, other) for one, other in zip(before, networks(algorithm), strict=True))
    assert non_finite_value(algorithm.state()) is None


@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.parametrize("field", ["observation", "next_observation", "base_plan", "reward"])
@pytest.mark.parametrize("value", [1e15, 1e25, -3e38])
def test_values_at_the_edge_of_float32_are_learned_from_or_refused_but_never_make_nan(
    field: str, value: float, recipe: str
) -> None:
    algorithm = algorithm_of(recipe)
    for _ in range(3):
        algorithm.update(spoiled(field, value))
    assert non_finite_value(algorithm.state()) is None
    assert algorithm.first_skipped() is not None or value == 1e15 or recipe == "td3"


@pytest.mark.parametrize("steps", [CheckedSteps, deferred])
def test_a_temperature_that_explodes_reaches_no_network(steps: Callable[[], FiniteSteps]) -> None:
    algorithm = algorithm_of("sac", steps())
    with torch.no_grad():
        algorithm.log_temperature.fill_(90.0)  # exp(90) overflows
    algorithm.update(batch_of())
    assert algorithm.first_skipped() is not None
    assert non_finite_value(algorithm.state()) is None


@pytest.mark.parametrize("steps", [CheckedSteps, deferred])
def test_a_gradient_whose_square_overflows_counts_as_not_finite(steps: Callable[[], FiniteSteps]) -> None:
    weight = torch.nn.Parameter(torch.ones(3))
    optimizer = torch.optim.Adam([weight], fused=True)
    weight.grad = torch.full((3,), 1e20)
    made = steps()
    made.step(optimizer, torch.tensor(0.5), "critic", 7)
    assert str(made.first_skipped()).startswith("update 7: the norm of the critic's gradient is ")
    assert torch.equal(weight.detach(), torch.ones(3))


def test_both_ways_of_checking_make_the_same_updates() -> None:
    one, other = algorithm_of("sac"), algorithm_of("sac", deferred())
    for _ in range(4):
        one.update(batch_of())
        other.update(batch_of())
    assert all(torch.equal(a, b) for a, b in zip(networks(one), networks(other), strict=True))


def test_a_temperature_of_zero_is_finite_and_any_other_infinite_logarithm_is_not() -> None:
    assert non_finite_value(algorithm_of("td3").state()) is None
    assert non_finite_value({"log_temperature": torch.tensor(INF)}) == "log_temperature is inf"
    named = {"actor": {"parts": [torch.ones(2), torch.tensor([[1.0, NAN]])]}, "step": torch.tensor(3)}
    assert non_finite_value(named) == "actor.parts.1[0, 1] is nan"


@pytest.mark.parametrize("steps", [CheckedSteps, deferred])
@pytest.mark.parametrize("largest", [0.5, 1e6])
def test_a_step_with_a_largest_norm_is_that_of_clipped_gradients(
    steps: Callable[[], FiniteSteps], largest: float
) -> None:
    inputs = torch.randn(32, 3, generator=torch.Generator().manual_seed(0))
    made = []
    for own in (True, False):
        torch.manual_seed(0)
        network = torch.nn.Sequential(torch.nn.Linear(3, 8), torch.nn.Linear(8, 1))
        # The first steps of Adam do not depend on the size of a gradient unless its epsilon is large.
        optimizer = torch.optim.Adam(network.parameters(), lr=0.1, eps=1.0, fused=True)
        finite = steps()
        for update in range(3):
            optimizer.zero_grad()
            loss = (10 * network(inputs)).square().mean()
            loss.backward()
            if not own:
                torch.nn.utils.clip_grad_norm_(network.parameters(), largest)
            finite.step(optimizer, loss.detach(), "policy", update, largest_norm=largest if own else None)
        made.append([parameter.detach() for parameter in network.parameters()])
    for one, other in zip(*made, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-7)
