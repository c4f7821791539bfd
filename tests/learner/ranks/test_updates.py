"""Updates of several ranks are those of one process with the joint batch."""

import numpy as np
import pytest
import torch
from torch import Tensor

from config.main import Config
from learner.algorithms.residual_sac import Figures, ResidualSAC
from learner.ranks.ranks import Ranks
from learner.ranks.starts import RunStart, lead
from learner.replay.memory.batches import Batches
from learner.replay.memory.ring import Ring
from tests.support.columns import episode_of
from tests.support.helpers import make_config
from tests.support.ranks import on_ranks

WORDS = (
    "algo.residual_every=4",
    "algo.critic_warmup_updates=4",
    "algo.hidden=[16,16]",
    "algo.prior_fraction=0.25",
)
CASES = [("default", 2), ("default", 3), ("published", 3), ("gaussian", 2)]
VARIANTS = {
    "default": ("algo.grad_clip=0.05",),
    "published": ("algo=policy_decorator", "algo.learning_starts=8"),
    "gaussian": ("algo.head=gaussian", "algo.learn_temperature=true", "algo.initial_temperature=0.1",
                 "algo.actor_pessimism=null"),
}  # fmt: skip
BATCH, UPDATES = 24, 20

type Trained = tuple[list[Tensor], dict[str, float]]


def config_of(variant: str, batch: int) -> Config:
    return make_config(*VARIANTS[variant], *WORDS, f"algo.batch_size={batch}")


def ring_of(seed: int) -> Ring:
    ring, draw = Ring(200, 3, 8), np.random.default_rng(seed)
    for _ in range(12):
        columns = episode_of([[0, 0, 0, 0]] * 3 + [[0, 1, 0, 0]], frames=[4, 4, 4, 2])
        for name in ("observation", "base_plan", "residual"):
            columns[name] = draw.uniform(-1, 1, columns[name].shape).astype(np.float32)
        ring.add("a", columns)
    return ring


def train(ranks: Ranks, variant: str, batch: int, device: str = "cpu") -> Trained:
    """Parameters, state of the random numbers, and figures after some updates."""
    config, rings = config_of(variant, batch), (ring_of(0), ring_of(1))
    device = ranks.device or device
    algorithm = ResidualSAC(config.algo, 3, 2, seed=1, device=device, ranks=ranks)
    joint = config_of(variant, batch * ranks.size).algo
    batches = Batches(joint, *rings, seed=1, device=device)
    # Another seed: the others get the state.
    lead(ranks, RunStart(config.algo, (3, 2, 0), seed=0, threads=1), algorithm.state())
    figures: Figures = {}
    for _ in range(UPDATES):
        figures |= algorithm.update(ranks.share(batches.next()))
    assert algorithm.first_skipped() is None
    networks = algorithm.actor, algorithm.critic, algorithm.target_critic
    values = [value.cpu() for network in networks for value in network.state_dict().values()]
    return [*values, algorithm.temperature.cpu(), algorithm.state()["rng"]], ranks.mean(figures)


def check_same(found: Trained, wanted: Trained, within: float = 1e-6) -> None:
    assert found[1] == pytest.approx(wanted[1], rel=1e-5, abs=within)
    torch.testing.assert_close(found[0], wanted[0], rtol=0, atol=within)


@pytest.mark.parametrize(("variant", "size"), CASES)
def test_parameters_and_figures_are_those_of_one_process_with_a_joint_batch(variant: str, size: int) -> None:
    check_same(on_ranks(size, train, variant, BATCH), train(Ranks(), variant, BATCH * size))


def test_two_times_the_same_updates_are_equal_to_the_bit() -> None:
    one, other = (on_ranks(3, train, "gaussian", BATCH) for _ in range(2))
    assert all(map(torch.equal, one[0], other[0])) and one[1] == other[1]


def test_accumulated_gradients_are_those_of_the_whole_batch() -> None:
    found = on_ranks(2, train, "gaussian", BATCH, ACCELERATE_GRADIENT_ACCUMULATION_STEPS="3")
    check_same(found, train(Ranks(), "gaussian", BATCH * 2))


def test_mixed_precision_is_close_and_keeps_parameters_as_they_are() -> None:
    """Native code, which is float32 alone, is not used in it."""
    wanted = train(Ranks(), "gaussian", BATCH)
    found = on_ranks(1, train, "gaussian", BATCH, ACCELERATE_MIXED_PRECISION="bf16")
    assert all(value.dtype != torch.bfloat16 for value in found[0])
    assert found[1] != wanted[1]
    check_same(found, wanted, within=2e-2)


def test_a_single_process_adds_nothing() -> None:
    batch, ranks = {"reward": torch.ones(4)}, Ranks()
    assert ranks.share(batch) is batch and ranks.pieces(batch) == (batch,)
    assert ranks.own(batch["reward"]) is batch["reward"]


@pytest.mark.gpu
@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two GPUs")
@pytest.mark.parametrize("variant", VARIANTS)
def test_two_gpus_make_the_updates_of_one(variant: str) -> None:
    wanted = train(Ranks(), variant, BATCH * 2, "cuda")
    check_same(on_ranks(2, train, variant, BATCH, device="cuda"), wanted, within=1e-5)
