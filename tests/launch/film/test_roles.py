"""Laws of who plays in a film: the newest residual that was evaluated and kept."""

from pathlib import Path

import pytest

from actor.policy.checkpoint_file import write_safetensors
from actor.policy.contract import CheckpointError
from config.process import UsageError
from launch.show.film.roles import base_role, newest_role, timelapse_roles
from learner.report.evaluations import EvaluationRecord


def record(policy: str, version: int, *successes: bool, first: int = 5) -> EvaluationRecord:
    seeds = [first + i for i in range(len(successes))]
    return EvaluationRecord(policy, version, 0, 0, 0.0, seeds, [*successes], 1.0)


def keep(run_dir: Path, *versions: int) -> None:
    for version in versions:
        write(run_dir / f"checkpoints/evaluated/v{version}.safetensors", version)


def write(place: Path, version: int) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    write_safetensors(place, {"version": version, "actor": {}})


def test_the_newest_evaluated_residual_that_is_kept_plays_with_all_its_outcomes(tmp_path: Path) -> None:
    keep(tmp_path, 3, 7)
    write(tmp_path / "checkpoints/best.safetensors", 3)
    evaluations = [
        record("base", 0, False, True), record("full", 3, True), record("full", 7, False),
        record("full", 7, False, True, True, first=6), record("full", 9, True),
    ]  # fmt: skip
    role = newest_role(tmp_path, evaluations)
    assert (role.version, role.residual) == (7, tmp_path / "checkpoints/evaluated/v7.safetensors")
    assert role.outcomes == {5: False, 6: False, 7: True, 8: True}
    assert base_role(evaluations).outcomes == {5: False, 6: True}


def test_without_a_kept_one_the_best_or_newest_plays_and_its_outcomes_are_known_if_it_was_evaluated(
    tmp_path: Path,
) -> None:
    write(tmp_path / "checkpoints/newest.safetensors", 8)
    assert newest_role(tmp_path, []).version == 8 and newest_role(tmp_path, []).outcomes == {}
    write(tmp_path / "checkpoints/best.safetensors", 4)
    role = newest_role(tmp_path, [record("full", 4, True), record("full", 6, False)])
    assert (role.version, role.outcomes) == (4, {5: True})


def test_a_run_without_a_residual_or_with_a_broken_one_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="checkpoints has no residual yet"):
        newest_role(tmp_path, [])
    (tmp_path / "checkpoints").mkdir()
    write_safetensors(tmp_path / "checkpoints/best.safetensors", {"actor": {}})
    with pytest.raises(CheckpointError, match=r"best\.safetensors is no checkpoint of a residual"):
        newest_role(tmp_path, [])


def test_a_time_lapse_has_the_base_the_first_the_newest_and_one_between(tmp_path: Path) -> None:
    keep(tmp_path, *range(10, 100, 10))
    roles = timelapse_roles(tmp_path, [record("full", 10, True), record("base", 0, False)])
    assert [role.version for role in roles] == [0, 10, 50, 90]
    assert [role.outcomes for role in roles] == [{5: False}, {5: True}, {}, {}]
    keep(tmp_path / "two", 3, 8)
    assert [role.version for role in timelapse_roles(tmp_path / "two", [])] == [0, 3, 8]


def test_a_time_lapse_of_fewer_than_two_says_what_keeps_them(tmp_path: Path) -> None:
    keep(tmp_path, 3)
    with pytest.raises(UsageError, match=r"has 1 evaluated residuals, .*keep_versions"):
        timelapse_roles(tmp_path, [])
