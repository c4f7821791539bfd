"""A base that several ranks train is that of one process with the joint batch, and resumes to the bit."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from config.train_base import compose_training
from learner.base_training.follow import lead_base
from learner.base_training.trainer import BaseTrainer, ResumeError
from learner.base_training.windows import make_windows
from learner.ranks.ranks import Ranks
from tests.support.ranks import on_ranks

SMALL = (
    "preset=small", "unet_dims=[8,16]", "n_groups=4", "warmup=5", "diffusion_step_embed_dim=16",
    "iterations=20", "evaluation.every=0",
)  # fmt: skip
BATCH = 12


def trainer_of(ranks: Ranks, out: Path, batch: int) -> BaseTrainer:
    draw = np.random.default_rng(0)
    episodes = [
        (draw.normal(size=(21, 5)).astype(np.float32), draw.uniform(-1, 1, (20, 3)).astype(np.float32))
        for _ in range(4)
    ]
    settings = compose_training([*SMALL, f"out={out}", f"batch_size={batch}"])
    return BaseTrainer(settings, make_windows(episodes, settings.obs_horizon, settings.pred_horizon), ranks)


def train(
    ranks: Ranks, out: Path, batch: int, steps: int, saved: dict[str, Any] | None = None
) -> tuple[dict[str, Any], list[float]]:
    """State and losses of `steps` updates, from their start or from what was `saved`."""
    trainer = trainer_of(ranks, out, batch)
    if saved is not None:
        trainer.load_state(saved)
    lead_base(ranks, trainer, trainer._data)
    losses = []
    for _ in range(steps):
        ranks.lead()
        losses.append(trainer.update().item())
    return trainer.state(), losses


def weights(state: dict[str, Any]) -> list[torch.Tensor]:
    return [*state["agent"].values(), *state["ema_agent"].values()]


@pytest.mark.parametrize("size", [2, 3])
def test_a_base_of_several_ranks_is_that_of_one_with_the_joint_batch(size: int, tmp_path: Path) -> None:
    wanted, losses = train(Ranks(), tmp_path, BATCH * size, 12)
    found, means = on_ranks(size, train, tmp_path, BATCH, 12)
    assert means == pytest.approx(losses, rel=1e-5)
    torch.testing.assert_close(weights(found), weights(wanted), rtol=0, atol=1e-6)


def test_a_training_of_several_ranks_resumes_to_the_bit(tmp_path: Path) -> None:
    straight, losses = on_ranks(2, train, tmp_path, BATCH, 12)
    saved, first = on_ranks(2, train, tmp_path, BATCH, 5)
    resumed, rest = on_ranks(2, train, tmp_path, BATCH, 7, saved)
    assert first + rest == losses
    assert all(torch.equal(a, b) for a, b in zip(weights(resumed), weights(straight), strict=True))


def test_what_one_process_began_two_may_go_on_with_if_their_joint_batch_is_the_same(tmp_path: Path) -> None:
    wanted, _ = train(Ranks(), tmp_path, BATCH * 2, 12)
    saved, _ = train(Ranks(), tmp_path, BATCH * 2, 5)
    found, _ = on_ranks(2, train, tmp_path, BATCH, 7, saved)
    torch.testing.assert_close(weights(found), weights(wanted), rtol=0, atol=1e-6)
    with pytest.raises(ResumeError, match=f"batch_size={BATCH * 2}, not {BATCH}"):
        trainer_of(Ranks(), tmp_path, BATCH).load_state(saved)
