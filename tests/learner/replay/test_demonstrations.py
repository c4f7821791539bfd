"""Demonstrations that cannot be used are refused by one line that says where."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from learner.replay.prior.demonstration import Demonstration, DemonstrationError
from learner.replay.prior.lerobot import write_lerobot
from learner.replay.prior.read import read_demonstrations

OBSERVATION, ACTION, FRAMES = 5, 3, 6


def write(path: Path, change: Callable[[Any, int], None]) -> Path:
    """Three episodes, changed by `change(group, number)`."""
    with h5py.File(path, "w") as file:
        for number in range(3):
            group = file.create_group(f"traj_{number}")
            group["obs"] = np.full((FRAMES + 1, OBSERVATION), number, np.float32)
            group["actions"] = np.zeros((FRAMES, ACTION), np.float32)
            group["success"] = np.arange(FRAMES) == FRAMES - 1
            change(group, number)
    return path


def put(name: str, value: Callable[[np.ndarray], Any], only: int | None = 1) -> Callable[[Any, int], None]:
    def change(group: Any, number: int) -> None:
        if only is None or number == only:
            before = group[name][()]
            del group[name]
            group[name] = value(before)

    return change


def with_nan(array: np.ndarray) -> np.ndarray:
    array[4, 2] = np.nan
    return array


def as_group(group: Any, number: int) -> None:
    del group["obs"]
    group.create_group("obs")


REFUSED = {
    "a value that is not finite": (
        put("obs", with_nan),
        "observations at frame 4, dimension 2 is nan",
    ),
    "an infinite action": (put("actions", lambda a: a / 0), "episode 1: actions at frame 0"),
    "no last observation": (put("obs", lambda o: o[:-1]), "6 observations for 6 actions, there must be 7"),
    "an episode of another width": (
        put("obs", lambda o: o[:, :-1]),
        r"shape \(7, 4\), not \(frames, 5\)",
    ),
    "success of another length": (put("success", lambda s: s[:-1]), "5 success for 6 actions"),
    "the planner's raw file": (as_group, "obs has nothing in it, .*replay_trajectory"),
    "words": (put("obs", lambda o: "words"), "obs is not an array of numbers"),
}


@pytest.mark.filterwarnings("ignore:.*(divide|invalid)")
@pytest.mark.parametrize("kind", REFUSED)
def test_what_cannot_be_learned_from_is_refused_with_its_place(kind: str, tmp_path: Path) -> None:
    change, says = REFUSED[kind]
    with pytest.raises(DemonstrationError, match=says) as refused:
        read_demonstrations(write(tmp_path / "demos.h5", change))
    assert "demos.h5" in str(refused.value) and "\n" not in str(refused.value)


def test_success_may_be_a_column(tmp_path: Path) -> None:
    path = write(tmp_path / "demos.h5", put("success", lambda s: s[:, None].astype(np.uint8), only=None))
    for episode in read_demonstrations(path).episodes:
        assert episode.success.tolist() == [False] * (FRAMES - 1) + [True]


def test_a_lerobot_dataset_with_a_value_that_is_not_finite_is_refused(tmp_path: Path) -> None:
    observations = np.zeros((FRAMES + 1, OBSERVATION), np.float32)
    observations[2, 1] = np.inf
    broken = Demonstration(
        observations, np.zeros((FRAMES, ACTION), np.float32), np.arange(FRAMES) == FRAMES - 1
    )
    write_lerobot(tmp_path / "set", [broken], task="push", robot_type="panda", fps=20)
    with pytest.raises(DemonstrationError, match="episode 0: observations at frame 2, dimension 1 is inf"):
        read_demonstrations(tmp_path / "set")
