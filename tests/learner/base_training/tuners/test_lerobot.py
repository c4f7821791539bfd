"""LeRobot policies trained further by their own loss and optimiser."""

from pathlib import Path

import pytest
import torch

from actor.policy.contract import CheckpointError
from actor.policy.make import make_base
from learner.base_training.episodes import EpisodeSet
from learner.base_training.sampler import Source, WindowSampler
from learner.base_training.tuners.contract import BaseTuner, TunerSettings
from learner.base_training.tuners.make import make_tuner
from learner.replay.prior.demonstration import Demonstration
from learner.replay.prior.read import Wanted, read_demonstrations
from tests.support.diffusion import base_keys
from tests.support.helpers import make_config
from tests.support.lerobot_policies import make_policy, save

ROBOT = 18
SETTINGS = TunerSettings(updates=40, warmup=4, lr=2e-3, ema_ceiling=0.9, seed=0, device="cpu")


@pytest.fixture(scope="module")
def episodes() -> list[Demonstration]:
    return read_demonstrations("bases/PickCube-v1/demos.h5", Wanted(limit=5)).episodes


@pytest.fixture(scope="module", params=["act", "diffusion"])
def folder(
    request: pytest.FixtureRequest, episodes: list[Demonstration], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    return save(tmp_path_factory.mktemp(request.param), *make_policy(request.param, episodes, ROBOT))


def tuner_of(folder: Path, settings: TunerSettings = SETTINGS) -> BaseTuner:
    config = make_config("base=lerobot", f"base.path={folder}")
    return make_tuner(config.base, config.task, settings)


def batches(tuner: BaseTuner, episodes: list[Demonstration]) -> WindowSampler:
    found = EpisodeSet(tuner.shape, 42, 7)
    for one in episodes:
        found.add(one.observations, one.actions)
    return WindowSampler([Source("demos", found, 1.0)], 16, seed=0, device="cpu")


def test_it_learns_and_saves_a_base_that_lerobot_opens(
    folder: Path, episodes: list[Demonstration], tmp_path: Path
) -> None:
    tuner = tuner_of(folder)
    before = {name: value.clone() for name, value in tuner.weights().items()}
    drawn = batches(tuner, episodes)
    losses = [tuner.update(drawn.next())["loss/base"]().item() for _ in range(40)]
    assert sum(losses[-8:]) < 0.95 * sum(losses[:8]) and tuner.first_skipped() is None
    for name, weights in (("tuned", None), ("earlier", before)):
        tuner.save(tmp_path / name, weights)
    assert {path.name for path in (tmp_path / "tuned").iterdir()} >= {path.name for path in folder.iterdir()}
    earlier, first, tuned = (plan_of(each) for each in (tmp_path / "earlier", folder, tmp_path / "tuned"))
    assert earlier.equal(first) and not tuned.equal(first)


def plan_of(folder: Path) -> torch.Tensor:
    config = make_config("base=lerobot", f"base.path={folder}")
    base = make_base(config.base, config.task, "cpu")
    return base.plan(torch.full((2, base.obs_horizon, 42), 0.1), base_keys(2))


def test_the_update_after_a_resume_is_the_one_that_would_have_come(
    folder: Path, episodes: list[Demonstration], tmp_path: Path
) -> None:
    straight = tuner_of(folder)
    drawn = batches(straight, episodes)
    for _ in range(2):
        straight.update(drawn.next())
    torch.save(straight.state(), tmp_path / "state.pt")
    rest = [drawn.next() for _ in range(2)]
    resumed = tuner_of(folder)
    resumed.load_state(torch.load(tmp_path / "state.pt", weights_only=True))
    torch.rand(5)  # what others draw changes nothing
    for batch in rest:
        one, other = straight.update(batch), resumed.update(batch)
        assert one["loss/base"]() == other["loss/base"]()
    for name, value in straight.weights().items():
        assert value.equal(resumed.weights()[name])


def test_its_optimiser_is_that_of_the_policy(folder: Path) -> None:
    tuner = tuner_of(folder, TunerSettings(40, 0, None, 0.9, 0, "cpu"))
    config = make_config("base=lerobot", f"base.path={folder}")
    preset = tuner._policy.config.get_optimizer_preset()
    rates = {group["lr"] for group in tuner._optimizer.param_groups}
    assert type(tuner._optimizer).__name__.lower() == preset.type and preset.lr in rates
    assert config.base.path == str(folder)


def test_a_policy_without_a_loss_is_one_clear_error(episodes: list[Demonstration], tmp_path: Path) -> None:
    folder = save(tmp_path, *make_policy("gaussian_actor", episodes, ROBOT))
    with pytest.raises(CheckpointError, match=r"a gaussian_actor policy, cannot be trained here: .*algo="):
        tuner_of(folder)


def test_a_policy_that_learns_from_rewards_is_one_clear_error(
    episodes: list[Demonstration], tmp_path: Path
) -> None:
    folder = save(tmp_path, *make_policy("tdmpc", episodes, ROBOT))
    with pytest.raises(CheckpointError, match=r"a tdmpc policy, cannot be trained here: .*algo="):
        tuner_of(folder)
