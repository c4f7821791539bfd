"""A diffusion base trained further: learns, resumes to the bit, and is a plain base afterwards."""

from pathlib import Path

import pytest
import torch

from actor.policy.contract import CheckpointError
from actor.policy.diffusion.checkpoint import load_agent, save_agent
from actor.policy.make import make_base
from learner.base_training.episodes import EpisodeSet
from learner.base_training.sampler import Source, WindowSampler
from learner.base_training.tuners.contract import TunerSettings
from learner.base_training.tuners.diffusion import DiffusionTuner
from learner.base_training.tuners.make import make_tuner
from learner.replay.prior.read import Wanted, read_demonstrations
from tests.support.diffusion import base_keys, small_agent
from tests.support.helpers import make_config

SETTINGS = TunerSettings(updates=60, warmup=5, lr=2e-3, ema_ceiling=0.9, seed=0, device="cpu")
PICK_CUBE = dict(obs_dim=42, act_dim=7)


@pytest.fixture(params=[{}, dict(prediction_type="sample", normalize=True)], ids=["published", "native"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    agent = small_agent(**PICK_CUBE, **request.param)
    save_agent(tmp_path / "base", agent, agent, {"iterations": 3})
    return tmp_path / "base"


def tuner_of(folder: Path) -> DiffusionTuner:
    config = make_config(f"base.path={folder}")
    tuner = make_tuner(config.base, config.task, SETTINGS)
    assert isinstance(tuner, DiffusionTuner)
    return tuner


def batches(tuner: DiffusionTuner) -> WindowSampler:
    episodes = EpisodeSet(tuner.shape, 42, 7)
    for one in read_demonstrations("bases/PickCube-v1/demos.h5", Wanted(limit=5)).episodes:
        episodes.add(one.observations, one.actions)
    return WindowSampler([Source("demos", episodes, 1.0)], 32, seed=0, device="cpu")


def test_it_learns_and_saves_a_plain_base(folder: Path, tmp_path: Path) -> None:
    tuner = tuner_of(folder)
    before = {name: value.clone() for name, value in tuner.weights().items()}
    drawn = batches(tuner)
    losses = [tuner.update(drawn.next())["loss/base"]().item() for _ in range(60)]
    assert sum(losses[-10:]) < 0.95 * sum(losses[:10]) and tuner.first_skipped() is None
    tuner.save(tmp_path / "tuned")
    saved = load_agent(tmp_path / "tuned").state_dict()
    assert all(value.equal(saved[name]) for name, value in tuner.weights().items())
    tuner.save(tmp_path / "earlier", before)
    kept, first = load_agent(tmp_path / "earlier").state_dict(), load_agent(folder).state_dict()
    assert all(value.equal(kept[name]) for name, value in first.items())
    config = make_config(f"base.path={tmp_path / 'tuned'}")
    plan = make_base(config.base, config.task, "cpu").plan(torch.zeros(2, 2, 42), base_keys(2))
    assert plan.shape == (2, 4, 7)


def test_the_update_after_a_resume_is_the_one_that_would_have_come(folder: Path) -> None:
    straight, drawn = tuner_of(folder), None
    drawn = batches(straight)
    for _ in range(3):
        straight.update(drawn.next())
    saved = torch.load(_file_of(folder, straight.state()), weights_only=True)
    rest = [drawn.next() for _ in range(3)]
    resumed = tuner_of(folder)
    resumed.load_state(saved)
    assert resumed.updates == 3
    for batch in rest:
        one, other = straight.update(batch), resumed.update(batch)
        assert one["loss/base"]() == other["loss/base"]() and one["base_lr"]() == other["base_lr"]()
    for name, value in straight.weights().items():
        assert value.equal(resumed.weights()[name])


def _file_of(folder: Path, state: dict) -> Path:
    torch.save(state, folder / "state.pt")
    return folder / "state.pt"


def test_the_state_of_another_network_is_refused(folder: Path) -> None:
    other = {"noise_pred_net.other": torch.zeros(1)}
    state = tuner_of(folder).state() | {"agent": other, "ema_agent": other}
    with pytest.raises(ValueError, match="another base"):
        tuner_of(folder).load_state(state)


def test_no_base_cannot_be_trained() -> None:
    config = make_config("base=zero")
    with pytest.raises(CheckpointError, match="base=zero has no weights to train"):
        make_tuner(config.base, config.task, SETTINGS)
