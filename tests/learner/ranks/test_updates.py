"""Updates of several ranks are those of one process with the joint batch."""

from typing import Any

import numpy as np
import pytest
import torch

from config.main import Config
from learner.algorithms.residual_sac import ResidualSAC
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
VARIANTS = {
    "default": ("algo.grad_clip=0.05",),
    "published": ("algo=policy_decorator", "algo.learning_starts=8"),
    "gaussian": ("algo.head=gaussian", "algo.learn_temperature=true", "algo.initial_temperature=0.1",
                 "algo.actor_pessimism=null"),
}  # fmt: skip
BATCH, UPDATES = 24, 20


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


def train(ranks: Ranks, variant: str, batch: int) -> tuple[dict[str, Any], dict[str, float]]:
    """State and figures after some updates."""
    config, rings = config_of(variant, batch), (ring_of(0), ring_of(1))
    algorithm = ResidualSAC(config.algo, 3, 2, seed=1, device="cpu", ranks=ranks)
    joint = config_of(variant, batch * ranks.size).algo
    batches = Batches(joint, *rings, seed=1, device="cpu")
    lead(ranks, RunStart(config.algo, (3, 2), seed=0, threads=1), algorithm.state())
    figures = {}
    for _ in range(UPDATES):
        figures |= algorithm.update(ranks.share(batches.next()))
    assert algorithm.first_skipped() is None
    return algorithm.state(), ranks.mean(figures)


def tensors(state: dict[str, Any]) -> list[torch.Tensor]:
    names = ("actor", "critic", "target_critic")
    return [*(value for name in names for value in state[name].values()), state["log_temperature"]]


@pytest.mark.parametrize(
    ("variant", "size"), [("default", 2), ("default", 3), ("published", 3), ("gaussian", 2)]
)
def test_parameters_and_figures_are_those_of_one_process_with_the_joint_batch(
    variant: str, size: int
) -> None:
    wanted, figures = train(Ranks(), variant, BATCH * size)
    found, means = on_ranks(size, train, variant, BATCH)
    assert means == pytest.approx(figures, rel=1e-5, abs=1e-6)
    torch.testing.assert_close(tensors(found), tensors(wanted), rtol=0, atol=1e-6)
    assert torch.equal(found["rng"], wanted["rng"])


def test_two_times_the_same_updates_are_equal_to_the_bit() -> None:
    one, other = (on_ranks(3, train, "gaussian", BATCH)[0] for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(tensors(one), tensors(other), strict=True))


def test_accumulated_gradients_are_those_of_the_whole_batch() -> None:
    wanted, figures = train(Ranks(), "gaussian", BATCH * 2)
    found, means = on_ranks(2, train, "gaussian", BATCH, ACCELERATE_GRADIENT_ACCUMULATION_STEPS="3")
    assert means == pytest.approx(figures, rel=1e-5, abs=1e-6)
    torch.testing.assert_close(tensors(found), tensors(wanted), rtol=0, atol=1e-6)


def test_ranks_without_others_add_nothing() -> None:
    batch = {"reward": torch.ones(4)}
    ranks = Ranks()
    assert ranks.share(batch) is batch and ranks.pieces(batch) == (batch,)
    assert ranks.own(batch["reward"]) is batch["reward"]
