"""Laws of checkpoints/evaluated: the residuals that were evaluated, few, and evenly spread over the run."""

from pathlib import Path

import pytest
import torch

from actor.evaluate_base import make_policy
from actor.policy.checkpoint_file import read_checkpoint
from learner.checkpoints.best import BestCheckpoint
from learner.checkpoints.evaluated import EvaluatedCheckpoints, kept_versions, superfluous
from protocol.messages import Evaluation
from tests.support.fakes import CountingBase
from tests.support.helpers import make_config
from tests.support.wire import make_weights

CONFIG = make_config()


def evaluation(version: int, policy: str = "full") -> Evaluation:
    return Evaluation(
        session=1, sequence=version, policy=policy, version=version, wall_s=1.0,
        successes=[version > 3, True], seeds=[5, 6],
    )  # fmt: skip


def kept(folder: Path, keep: int, *evaluations: Evaluation) -> list[int]:
    """The versions that are kept of a process that publishes 1 to 9 and gets these evaluations."""
    best = BestCheckpoint(folder, CONFIG.algo)
    for version in range(1, 10):
        best.remember(make_weights(version), updates=100 * version)
    evaluated = EvaluatedCheckpoints(folder, best.residual_of, keep)
    for each in evaluations:
        evaluated.add([each])
    return [*kept_versions(folder / "evaluated")]


def test_each_evaluated_residual_is_kept_and_neither_the_base_nor_one_that_is_forgotten(
    tmp_path: Path,
) -> None:
    assert kept(tmp_path, 50, evaluation(0, "base"), evaluation(2), evaluation(7), evaluation(44)) == [2, 7]
    content = read_checkpoint(tmp_path / "evaluated/v7.safetensors")
    assert (content["version"], content["updates"], content["success"], content["episodes"]) == (
        7,
        700,
        1.0,
        2,
    )
    assert torch.equal(
        content["actor"]["layer.weight"], torch.from_numpy(make_weights(7).columns["layer.weight"])
    )
    names = {path.name for path in tmp_path.rglob("v*")}
    assert names == {"v2.safetensors", "v2.json", "v7.safetensors", "v7.json"}


@pytest.mark.parametrize(
    ("keep", "left"), [(0, []), (1, [9]), (2, [1, 9]), (3, [1, 5, 9]), (20, list(range(1, 10)))]
)
def test_of_too_many_the_first_the_newest_and_some_between_are_left(
    keep: int, left: list[int], tmp_path: Path
) -> None:
    assert len(kept(tmp_path, keep, *map(evaluation, range(1, 10)))) == len(left)
    assert sorted({*range(1, 10)} - {*superfluous(range(1, 10), keep)}) == left


def test_a_kept_residual_plays(tmp_path: Path) -> None:
    from actor.policy.residual import ResidualActor

    base = CountingBase()
    residual = ResidualActor(CONFIG.algo, base.observation_dim, base.action_dim)
    content = {"version": 4, "actor": residual.state_dict(), "success": 1.0, "episodes": 2}
    EvaluatedCheckpoints(tmp_path, lambda _: content, keep=1).add([evaluation(4)])
    assert make_policy(CONFIG, base, tmp_path / "evaluated/v4.safetensors", num_envs=1).weights_version == 4
