"""Ring, batches and updates on another device: nothing is mixed, and the numbers are the processor's."""

import copy
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from config.algo import AlgoConfig
from learner.algorithms.residual_sac import ResidualSAC
from learner.replay.memory.batches import Batches
from learner.replay.memory.ring import Ring
from tests.support.columns import SIZES
from tests.support.columns import camera_experience as experience
from tests.support.columns import rollout_messages as messages
from tests.support.helpers import make_config
from tests.support.ring import check_ring
from tests.support.second_device import There, second_device

DRAW: dict[str, Any] = {"n_step": 3, "gamma": 0.9, "reward_offset": -1.0}
WORDS = (
    "algo.residual_every=1", "algo.hidden=[16]", "algo.batch_size=32", "algo.critic_warmup_updates=1",
    "algo.prior_fraction=0.5", "algo.gamma=0.9",
)  # fmt: skip
VARIANTS = {
    "default": (),
    "published": ("algo=policy_decorator",),
    "gaussian": ("algo.head=gaussian", "algo.learn_temperature=true", "algo.initial_temperature=0.1",
                 "algo.critic_input=sum", "algo.grad_clip=1"),
    "constant": ("algo.residual_dims=[1]", "algo.residual_shape=constant"),
}  # fmt: skip


@pytest.fixture
def there() -> Iterator[str]:
    with second_device() as device:
        yield device


@pytest.fixture(autouse=True)
def no_native_code(monkeypatch: pytest.MonkeyPatch) -> None:
    """The processor's side of a comparison computes with the operators that a GPU has."""
    monkeypatch.setattr("actor.policy.native.perceptrons.library", lambda: None)


SENT = messages([[5, 3], [7], [4]], frames=60)


def fill(device: str, capacity: int = 40, **more: Any) -> Ring:
    ring = Ring(capacity, 3, 2, device=device, **more)
    for columns in SENT:
        ring.add("a", columns)
    check_ring(ring)
    return ring


def home(tensors: Any) -> list[Tensor]:
    """Of tensors that must be there, their numbers."""
    assert all(isinstance(tensor, There) for tensor in tensors)
    return [tensor.cpu() for tensor in tensors]


def same(found: Any, wanted: Any) -> bool:
    return all(torch.equal(one, other) for one, other in zip(home(found), wanted, strict=True))


def test_a_ring_there_draws_what_one_in_memory_draws(there: str) -> None:
    ring, here = fill(there), fill("cpu")
    assert ring.rows.position > 3 * ring.capacity and ring.nbytes == here.nbytes
    for seed in range(3):
        drawn = (each.sample(64, np.random.default_rng(seed), **DRAW) for each in (ring, here))
        assert same(*drawn)


def test_so_it_does_with_images(there: str) -> None:
    drawn = []
    for device in (there, "cpu"):
        ring = Ring(64, 3, 8, device=device, cameras={**SIZES})
        for _ in range(9):
            ring.add("a", experience())
        drawn.append(ring.sample_with_images(50, np.random.default_rng(0), **DRAW))
    assert same(drawn[0][0], drawn[1][0])
    for found, wanted in zip(drawn[0][1], drawn[1][1], strict=True):
        assert same([found[camera] for camera in SIZES], [wanted[camera] for camera in SIZES])


def test_so_it_does_when_its_rows_were_put_back(there: str) -> None:
    here, back = fill("cpu"), Ring(40, 3, 2, device=there)
    back.rows.position = here.rows.position
    slots = np.arange(here.capacity)
    positions = here.rows.position - 1 - (here.rows.position - 1 - slots) % here.capacity
    after = here.rows.following[slots]
    successors = np.where(after == here.rows.unknown, -1, positions[np.minimum(after, here.capacity - 1)])
    rows = here.rows
    back.restore(positions, rows.block.numpy(), rows.reward[:-1], rows.terminated[:-1], successors)
    assert same(*(each.sample(64, np.random.default_rng(0), **DRAW) for each in (back, here)))


class Parts:
    """Two rings and the networks that learn from them, each somewhere."""

    def __init__(self, algo: AlgoConfig, ring_device: str, device: str) -> None:
        online, prior = (fill(ring_device, rows) for rows in (40, 90))
        self.batches = Batches(algo, online, prior, seed=0, device=device)
        self.algorithm = ResidualSAC(algo, 3, 2, seed=0, device=device)
        data = np.random.default_rng(0).normal(100, 50, (20, 3)).astype(np.float32)
        self.algorithm.scale_observations(torch.from_numpy(data))

    def update(self, times: int) -> dict[str, float]:
        """As the learner does it; the figures of all updates."""
        figures: dict[str, Any] = {}
        for _ in range(times):
            figures |= self.algorithm.update(self.batches.next())
        return {name: float(value()) for name, value in figures.items()}

    def weights(self) -> list[Tensor]:
        networks = self.algorithm.actor, self.algorithm.critic, self.algorithm.target_critic
        return [value for network in networks for value in network.state_dict().values()]


@pytest.mark.parametrize("variant", VARIANTS)
def test_updates_there_are_those_of_the_processor(variant: str, there: str) -> None:
    algo = make_config(*WORDS, *VARIANTS[variant]).algo
    here, parts = Parts(algo, "cpu", "cpu"), Parts(algo, there, there)
    wanted = here.update(4)
    assert "loss/actor" in wanted
    assert parts.update(4) == pytest.approx(wanted, rel=1e-3, abs=1e-5)
    torch.testing.assert_close(home(parts.weights()), here.weights(), rtol=1e-4, atol=1e-5)


def test_rings_and_networks_may_be_in_different_places(there: str) -> None:
    algo = make_config(*WORDS).algo
    wanted = Parts(algo, "cpu", "cpu").update(4)
    for places in (("cpu", there), (there, "cpu")):
        assert Parts(algo, *places).update(4) == pytest.approx(wanted, rel=1e-3, abs=1e-5)


def test_training_goes_on_there_from_what_the_processor_saved(there: str) -> None:
    algo = make_config(*WORDS, *VARIANTS["gaussian"]).algo
    here, parts = Parts(algo, "cpu", "cpu"), Parts(algo, there, there)
    here.update(4)
    # As from a file: an optimiser that loads a state shares its counters.
    parts.algorithm.load_state(copy.deepcopy(here.algorithm.state()))
    parts.batches.load_state(here.batches.state())
    assert parts.update(4) == pytest.approx(here.update(4), rel=1e-3, abs=1e-5)


def test_what_a_gpu_refuses_is_refused(there: str) -> None:
    rows, slots = torch.ones(4, 3).to(there), torch.tensor([1, 2])
    for mistake in (
        lambda: rows + torch.ones(3),
        lambda: rows.index_select(0, slots),
        lambda: rows[slots],
        lambda: torch.cat([rows, torch.ones(4, 3)]),
        lambda: torch.nn.Linear(3, 2)(rows),
        lambda: rows.numpy(),
        lambda: rows.data_ptr(),
        lambda: rows.to("cpu", non_blocking=True),
    ):
        with pytest.raises((RuntimeError, TypeError)):
            mistake()
    assert (rows * torch.tensor(2.0)).sum().item() == 24
