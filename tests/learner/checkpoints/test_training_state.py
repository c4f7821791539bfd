"""The next update after a resume is the one that would have come without the stop."""

import functools
import math
import operator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from actor.policy.contract import CheckpointError
from learner.algorithms.finite import NonFiniteError
from learner.algorithms.residual_sac import ResidualSAC
from learner.checkpoints.files import Checkpoints, TrainingState
from learner.replay.memory.batches import Batches
from learner.replay.memory.ring import Ring
from learner.report.progress import RunProgress
from learner.schedule.pace import Pace
from tests.support.columns import decisions_with as decisions
from tests.support.columns import episode_of
from tests.support.helpers import make_config

WORDS = (
    "algo.residual_every=4", "algo.critic_warmup_updates=4", "algo.prior_fraction=0", "algo.hidden=[16]",
    "algo.batch_size=32", "algo.mask_by=success",
)  # fmt: skip


class Parts:
    """A learner's parts over a small replay."""

    def __init__(self, *words: str, seed: int = 0) -> None:
        self.config = make_config(*WORDS, *words)
        algo = self.config.algo
        self.algorithm = ResidualSAC(algo, 3, 2, seed=seed, device="cpu")
        self.ring = Ring(200, 3, 8)
        draw = np.random.default_rng(0)
        for _ in range(10):
            columns = episode_of([[0, 0, 0, 0]] * 3 + [[0, 1, 0, 0]], frames=[4, 4, 4, 2])
            for name in ("observation", "base_plan", "residual"):
                columns[name] = draw.uniform(-1, 1, columns[name].shape).astype(np.float32)
            self.ring.add("a", columns)
        self.batches = Batches(algo, self.ring, None, seed=seed, device="cpu")
        self.pace = Pace(algo, 100, 1000)
        self.progress = RunProgress(self.config)

    def state(self, folder: Path) -> TrainingState:
        names = ("algorithm", "batches", "pace", "progress")
        return TrainingState(folder, {name: getattr(self, name) for name in names})

    def update(self, times: int) -> list[torch.Tensor]:
        """The networks after so many updates."""
        for _ in range(times):
            self.algorithm.update(self.batches.next())
        networks = self.algorithm.actor, self.algorithm.critic, self.algorithm.target_critic
        return [value for network in networks for value in network.state_dict().values()]


@pytest.mark.parametrize("words", [(), ("algo.head=gaussian", "algo.learn_temperature=true",
                                       "algo.initial_temperature=0.1")])  # fmt: skip
def test_the_update_after_a_resume_is_the_one_that_would_have_come(
    words: tuple[str, ...], tmp_path: Path
) -> None:
    straight, stopped, resumed = Parts(*words), Parts(*words), Parts(*words, seed=1)
    wanted = straight.update(20)
    stopped.update(9)
    stopped.state(tmp_path).save()
    assert resumed.state(tmp_path).load()
    found = resumed.update(11)
    assert all(torch.equal(one, other) for one, other in zip(found, wanted, strict=True))
    assert resumed.algorithm.updates == 20
    assert torch.equal(resumed.algorithm.log_temperature, straight.algorithm.log_temperature)


def test_what_was_counted_and_earned_goes_on(tmp_path: Path) -> None:
    before, after = Parts(), Parts()
    before.pace.updates = 77
    for _ in range(3):
        before.pace.gate.count("a", decisions([0.0], success=True))
    before.pace.gate.count("a", decisions([0.1], success=False))
    before.pace.gate.count("a", decisions([0.1], ended=False))
    before.pace.gate.share = 0.9
    before.progress.published(5, 60, now_s=1.0)
    before.progress._behaviour.extend([True] * 30)
    before.state(tmp_path).save()
    assert after.state(tmp_path).load()
    assert after.pace.updates == 77
    assert after.pace.gate.state() == before.pace.gate.state() and after.pace.gate.base_success == 1.0
    assert after.progress.state() == before.progress.state() and after.progress.behaviour == 1.0


def of_the_release_before(place: Path, reach: float) -> None:
    """Make a training state what the release before wrote."""
    saved = torch.load(place, weights_only=True)
    saved["algorithm"]["actor"]["reach"] = torch.full((1,), reach)
    saved["pace"]["gate"]["confidence"] = 1.0
    saved["seen"] = {"count": 4, "mean": [0.0] * 3, "squares": [1.0] * 3}
    for optimizer in saved["algorithm"]["optimizers"]:
        optimizer["param_groups"][0]["fused"] = None
    torch.save(saved, place)


def test_a_state_of_the_release_before_is_resumed_as_one_of_this_release(tmp_path: Path) -> None:
    straight, stopped, resumed = Parts(), Parts(), Parts(seed=1)
    wanted = straight.update(20)
    stopped.update(9)
    stopped.state(tmp_path).save()
    of_the_release_before(tmp_path / "training.pt", reach=1.0)
    assert resumed.state(tmp_path).load()
    assert all(torch.equal(one, other) for one, other in zip(resumed.update(11), wanted, strict=True))


def test_a_state_of_the_release_before_that_was_still_growing_is_refused_in_one_line(tmp_path: Path) -> None:
    parts = Parts()
    parts.state(tmp_path).save()
    of_the_release_before(tmp_path / "training.pt", reach=0.25)
    with pytest.raises(CheckpointError, match=r"uses 0\.25 of algo\.residual_scale") as refused:
        parts.state(tmp_path).load()
    assert "\n" not in str(refused.value)


def test_wall_time_goes_on_without_the_time_between(tmp_path: Path) -> None:
    before, after = Parts(), Parts()
    columns = decisions([0.1]) | {"final_row": np.array([0]), "weights_version": np.zeros(1)}
    before.progress.count(columns, 0, now_s=100.0)
    assert before.progress.point_if_due(130.0, 0)
    before.state(tmp_path).save()
    after.state(tmp_path).load()
    after.progress.count(columns, 0, now_s=5000.0)
    point = after.progress.point_if_due(5002.0, 0)
    assert point is not None and point["t_s"] == 32.0


def test_nothing_saved_is_no_error(tmp_path: Path) -> None:
    assert not Parts().state(tmp_path).load()


def test_learning_rates_are_those_of_the_new_configuration(tmp_path: Path) -> None:
    Parts().state(tmp_path).save()
    after = Parts("algo.actor_lr=0.5")
    after.state(tmp_path).load()
    assert [o.param_groups[0]["lr"] for o in after.algorithm._optimizers()][0] == 0.5


@pytest.mark.parametrize("word", ["algo.hidden=[17]", "algo.critics=3", "algo.learn_temperature=true"])
def test_other_networks_are_refused_by_the_files_name(word: str, tmp_path: Path) -> None:
    Parts().state(tmp_path).save()
    with pytest.raises(CheckpointError, match=r"training\.pt does not fit this configuration"):
        Parts(word).state(tmp_path).load()


@pytest.mark.parametrize(
    ("place", "value", "says"),
    [
        (("critic", "layers.0.bias"), math.nan, r"critic\.layers\.0\.bias\[0, 0, 0\] is nan"),
        (("optimizers", 1, "state", 0, "exp_avg_sq"), math.inf, r"optimizers\.1\..*exp_avg_sq.* is inf"),
        (("log_temperature",), math.inf, "log_temperature is inf"),
    ],
)
def test_a_value_that_is_not_finite_is_neither_saved_nor_resumed(
    place: tuple[Any, ...], value: float, says: str, tmp_path: Path
) -> None:
    parts = Parts()
    parts.update(2)
    checkpoints = Checkpoints(tmp_path, parts.algorithm, {"algorithm": parts.algorithm}, parts.config.algo)
    checkpoints.save(1)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    functools.reduce(operator.getitem, place, parts.algorithm.state()).fill_(value)
    with pytest.raises(NonFiniteError, match=says):
        checkpoints.save(2)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
    # As a release that did not look would have left it.
    TrainingState(tmp_path, {"algorithm": parts.algorithm}).save()
    with pytest.raises(CheckpointError, match=rf"training\.pt: algorithm\.{says}: remove it") as refused:
        Parts().state(tmp_path).load()
    assert "\n" not in str(refused.value)


def test_a_broken_file_is_refused_by_its_name(tmp_path: Path) -> None:
    Parts().state(tmp_path).save()
    place = tmp_path / "training.pt"
    place.write_bytes(place.read_bytes()[:1000])
    with pytest.raises(CheckpointError, match=r"training\.pt is not a readable .*: remove it"):
        Parts().state(tmp_path).load()


def test_a_full_disk_is_named_and_the_newest_whole_file_stays(tmp_path: Path) -> None:
    parts = Parts()
    state = parts.state(tmp_path)
    state.save()
    (tmp_path / "training.pt.new").symlink_to("/dev/full")
    with pytest.raises(CheckpointError, match=r"training\.pt cannot be written"):
        state.save()
    assert parts.state(tmp_path).load()
