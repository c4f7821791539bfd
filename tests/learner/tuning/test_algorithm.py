"""When a base in training is published, also after a resume."""

from pathlib import Path
from typing import Any

import pytest
import torch

from config.compose import compose_config
from config.tuning import SftConfig
from learner.base_training.episodes import WindowShape
from learner.tuning import make
from learner.tuning.algorithm import BaseTuning


class CountingTuner:
    """Its only weight is the number of updates."""

    shape = WindowShape((0,), (0,), 0, stands_still=False)

    def __init__(self) -> None:
        self.updates, self._weight = 0, torch.zeros(())

    def update(self, batch: Any) -> dict[str, Any]:
        self.updates += 1
        self._weight += 1
        return {}

    def first_skipped(self) -> None: ...

    def weights(self) -> dict[str, torch.Tensor]:
        return {"weight": self._weight}

    def state(self) -> dict[str, Any]:
        return {"updates": self.updates}

    def load_state(self, state: dict[str, Any]) -> None:
        self.updates = state["updates"]
        self._weight.fill_(self.updates)

    def save(self, folder: Path, weights: dict[str, torch.Tensor] | None = None) -> None:
        folder.write_text(str((weights or self.weights())["weight"].item()))


def tuning(*, is_resumed: bool = False) -> BaseTuning:
    return BaseTuning(CountingTuner(), publish_every=3, round_updates=10, is_resumed=is_resumed)


def train(algorithm: BaseTuning, updates: int) -> list[int]:
    """After which updates a base was published."""
    at = []
    for _ in range(updates):
        algorithm.update(dict.fromkeys(("history", "actions", "padded"), torch.zeros(1)))
        if algorithm.base() is not None:
            at.append(algorithm.updates)
    return at


def test_a_base_is_published_every_few_updates_and_after_each_round() -> None:
    algorithm = tuning()
    assert algorithm.base() is None, "the base of the start is no new one"
    assert train(algorithm, 20) == [3, 6, 9, 10, 13, 16, 19, 20]
    assert algorithm.base() is None


def test_what_was_published_stays_as_it_was(tmp_path: Path) -> None:
    algorithm = tuning()
    train(algorithm, 2)
    algorithm.update(dict.fromkeys(("history", "actions", "padded"), torch.zeros(1)))
    published = algorithm.base()
    assert published is not None
    train(algorithm, 5)
    published.save(tmp_path / "base")
    assert published.weights["weight"] == 3 and (tmp_path / "base").read_text() == "3.0"


def test_after_a_resume_actors_get_the_base_that_training_goes_on_from() -> None:
    before = tuning()
    train(before, 8)
    after = tuning(is_resumed=True)
    after.load_state(before.state())
    published = after.base()
    assert published is not None and published.weights["weight"] == 8
    assert train(after, 5) == [10, 13]


def test_a_learner_that_was_killed_before_its_first_checkpoint_gives_actors_the_first_base_back() -> None:
    train(tuning(), 4)
    published = tuning(is_resumed=True).base()
    assert published is not None and published.weights["weight"] == 0


@pytest.mark.parametrize("is_begun", [False, True])
def test_a_run_that_a_learner_has_begun_is_resumed(is_begun: bool, tmp_path: Path) -> None:
    config = compose_config(["algo=sft", f"runs_dir={tmp_path}", "name=one"])
    assert isinstance(config.algo, SftConfig)
    if is_begun:
        (tmp_path / "one").mkdir()
        (tmp_path / "one" / "config.yaml").touch()
    made = make._tuning(config, config.algo, CountingTuner(), round_updates=10)
    assert (made.base() is not None) == is_begun
