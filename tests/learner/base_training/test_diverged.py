"""A base's training never keeps a value that is not finite, and says which demonstrations led to it."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from actor.policy.contract import CheckpointError
from actor.policy.finite import non_finite_value
from config.process import StopRequest, one_line
from config.train_base import TrainBaseConfig, compose_training
from learner.algorithms.finite import CheckedSteps, DeferredSteps, FiniteSteps, NonFiniteError
from learner.base_training.demonstrations import read_episodes, windows_of
from learner.base_training.trainer import BaseTrainer
from learner.base_training.training import Training
from learner.base_training.windows import Windows
from learner.replay.prior.demonstration import DemonstrationError

DEMOS = "bases/PickCube-v1/demos.h5"
SMALL = (
    "preset=small", "max_episodes=3", "unet_dims=[8,16]", "n_groups=4", "batch_size=32", "warmup=5",
    "diffusion_step_embed_dim=16", "evaluation.every=0", "save_every=3", "iterations=4",
)  # fmt: skip


def settings_of(out: Path, *words: str) -> TrainBaseConfig:
    return compose_training([*SMALL, f"demos={DEMOS}", f"out={out}", *words])


def data_of(settings: TrainBaseConfig) -> Windows:
    return windows_of(settings, read_episodes(settings))


def train(settings: TrainBaseConfig, data: Windows, *, stopped: bool = False) -> None:
    stop = StopRequest()
    if stopped:
        stop.set()
    Training(settings, data, stop).run()


def checkpoints(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.rglob("*.pt")}


@pytest.mark.parametrize("value", [float("nan"), 1e30])
def test_it_stops_before_a_checkpoint_takes_the_value_and_goes_on_with_mended_data(
    value: float, tmp_path: Path
) -> None:
    other = shutil.copy(DEMOS, tmp_path / "other.h5")
    out = tmp_path / "out"
    settings = settings_of(out, f"demos=[{DEMOS},{other}]", "normalize=false")
    data = data_of(settings)
    train(settings, data, stopped=True)
    before = checkpoints(out)
    good = data.history.clone()
    # All of the second episode of the second file.
    data.history[sum(data.counts[:4]) : sum(data.counts[:5]), 1, 7] = value
    with pytest.raises(NonFiniteError) as error:
        train(settings, data)
    line = one_line(error.value)
    assert line.startswith("update 1: the base's loss is ")
    assert f"history[1, 7] = {value:g} from {other}, episode 1, frame " in line
    described = json.loads((out / "checkpoints" / "non_finite.json").read_text())
    bad = [row["start"] for row in described["rows"] if row["start"]["demonstrations"] == str(other)]
    assert len(described["rows"]) == 32 and {row["episode"] for row in bad} <= {0, 1, 2}
    assert checkpoints(out) == before and set(before) == {"training.pt", "newest.pt", "best.pt"}
    data.history[:] = good
    train(settings, data)
    saved = torch.load(out / "training.pt", weights_only=True)
    assert saved["step"] == settings.iterations and non_finite_value(saved) is None


@pytest.mark.parametrize("steps", [CheckedSteps, lambda: DeferredSteps(torch.device("cpu"))])
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_neither_network_nor_moving_average_nor_optimiser_gets_it(
    precision: str, steps: Callable[[], FiniteSteps], tmp_path: Path
) -> None:
    settings = settings_of(tmp_path, f"precision={precision}")
    trainer = BaseTrainer(settings, data_of(settings))
    trainer.denoising._steps = steps()
    trainer.update()
    before = {name: value.clone() for name, value in trainer.agent.state_dict().items()}
    trainer._data.actions[:] = float("nan")
    for _ in range(3):
        trainer.update()
    skipped = trainer.first_skipped()
    assert skipped is not None and skipped.update == 2
    assert all(torch.equal(value, trainer.agent.state_dict()[name]) for name, value in before.items())
    assert non_finite_value(trainer.state()) is None


def test_what_cannot_be_scaled_is_refused_and_a_constant_feature_is_not(tmp_path: Path) -> None:
    # huggingface/lerobot#211: a range of zero was divided by.
    settings = settings_of(tmp_path, "normalize=true")
    data = data_of(settings)
    data.history[..., 3] = 0.25
    trainer = BaseTrainer(settings, data)
    assert trainer.update().isfinite() and trainer.first_skipped() is None
    data.history[0, 0, 3], data.history[1, 0, 3] = 3e38, -3e38
    with pytest.raises(DemonstrationError, match=r"too large to be scaled: obs_half_range\[3\] is inf"):
        BaseTrainer(settings, data)


def test_a_training_with_nan_in_it_is_not_resumed(tmp_path: Path) -> None:
    settings = settings_of(tmp_path)
    data = data_of(settings)
    train(settings, data, stopped=True)
    state = torch.load(tmp_path / "training.pt", weights_only=True)
    next(iter(state["ema_agent"].values())).flatten()[0] = float("nan")
    torch.save(state, tmp_path / "training.pt")
    with pytest.raises(
        CheckpointError, match=r"training\.pt: ema_agent\.\S+ is nan: begin anew with resume=new"
    ):
        train(settings, data)
