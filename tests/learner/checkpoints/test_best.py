"""Laws of best.safetensors: the highest evaluated success of a run, over restarts, in bounded memory."""

from pathlib import Path

import msgspec
import numpy as np
import pytest

from actor.evaluate_base import make_policy
from actor.policy.checkpoint_file import read_checkpoint, write_safetensors
from actor.policy.contract import CheckpointError
from actor.policy.residual import ResidualActor
from learner.checkpoints.best import BestCheckpoint
from learner.checkpoints.policy_decorator import LayoutError, export_checkpoint
from protocol.messages import Evaluation, Weights
from tests.support.fakes import CountingBase
from tests.support.helpers import make_config
from tests.support.wire import make_weights

ALGO = make_config().algo


def evaluation(version: int, successes: int, policy: str = "full", episodes: int = 10) -> Evaluation:
    return Evaluation(
        session=1, sequence=version, policy=policy, version=version, wall_s=1.0,
        successes=[i < successes for i in range(episodes)], seeds=list(range(episodes)),
    )  # fmt: skip


def after(folder: Path, *evaluations: Evaluation) -> BestCheckpoint:
    """A process that publishes versions 1 to 9 and gets these evaluations."""
    best = BestCheckpoint(folder, ALGO)
    for version in range(1, 10):
        best.remember(make_weights(version), updates=100 * version)
    best.consider(evaluations)
    return best


def content(folder: Path) -> dict:
    return read_checkpoint(folder / "best.safetensors")


def test_the_best_evaluated_version_is_kept_and_of_equals_the_newer(tmp_path: Path) -> None:
    best = after(tmp_path, *(evaluation(v, s) for v, s in ((2, 5), (4, 8), (6, 8), (8, 7))))
    kept = content(tmp_path)
    assert (kept["version"], kept["updates"], kept["success"], kept["episodes"]) == (6, 600, 0.8, 10)
    assert msgspec.convert(kept["algo"], type(ALGO)) == ALGO
    np.testing.assert_array_equal(kept["actor"]["layer.weight"], make_weights(6).columns["layer.weight"])
    assert best.score == (6, 0.8, 10)


@pytest.mark.parametrize(
    ("first", "second", "kept"),
    [((40, 40), (99, 100), 2), ((40, 40), (90, 100), 1), ((99, 100), (40, 40), 1), ((8, 10), (80, 100), 2)],
)
def test_a_rate_over_few_episodes_promises_less_than_nearly_the_same_over_many(
    first: tuple[int, int], second: tuple[int, int], kept: int, tmp_path: Path
) -> None:
    counts = enumerate((first, second), start=1)
    best = after(tmp_path, *(evaluation(v, s, episodes=n) for v, (s, n) in counts))
    assert best.score is not None and best.score.version == content(tmp_path)["version"] == kept


def test_the_base_and_versions_that_are_not_remembered_are_never_the_best(tmp_path: Path) -> None:
    best = after(tmp_path, evaluation(2, 10, policy="base"), evaluation(77, 10))
    assert best.score is None and not (tmp_path / "best.safetensors").exists()


def test_a_restarted_learner_replaces_the_best_only_by_one_as_good(tmp_path: Path) -> None:
    after(tmp_path, evaluation(5, 8))
    assert after(tmp_path, evaluation(6, 7)).score == (5, 0.8, 10)
    assert content(tmp_path)["version"] == 5
    after(tmp_path, evaluation(7, 8))
    assert content(tmp_path)["version"] == 7


def test_a_broken_file_is_said_and_replaced(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "best.safetensors").write_bytes(b"broken")
    after(tmp_path, evaluation(3, 1))
    assert "best.safetensors cannot be used" in caplog.text
    assert content(tmp_path)["version"] == 3


def test_a_file_with_nan_is_said_and_replaced_and_plays_no_evaluation(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    after(tmp_path, evaluation(5, 10))
    kept = content(tmp_path)
    kept["actor"]["layer.weight"][2, 1] = float("nan")
    write_safetensors(tmp_path / "best.safetensors", kept)
    with pytest.raises(CheckpointError, match=r"best\.safetensors: actor\.layer\.weight\[2, 1\] is nan"):
        make_policy(make_config(), CountingBase(), tmp_path / "best.safetensors", num_envs=1)
    after(tmp_path, evaluation(3, 1))
    assert "actor.layer.weight[2, 1] is nan" in caplog.text
    assert content(tmp_path)["version"] == 3


def test_memory_is_bounded_and_the_newest_version_is_always_remembered(tmp_path: Path) -> None:
    size = make_weights(1).columns["layer.weight"].nbytes
    best = BestCheckpoint(tmp_path, ALGO, limit=3 * size)
    for version in range(1, 10):
        best.remember(make_weights(version), updates=version)
    best.consider([evaluation(6, 10)])
    assert best.score is None
    best.consider([evaluation(7, 1)])
    assert best.score == (7, 0.1, 10)
    small = BestCheckpoint(tmp_path / "small", ALGO, limit=0)
    small.remember(make_weights(1), updates=1)
    small.consider([evaluation(1, 1)])
    assert small.score == (1, 0.1, 10)


def test_an_evaluation_plays_the_best_residual_and_the_published_layout_asks_for_critics(
    tmp_path: Path,
) -> None:
    config, base = make_config(), CountingBase()
    residual = ResidualActor(config.algo, base.observation_dim, base.action_dim)
    residual.head.weight.data.fill_(0.25)
    columns = {name: value.numpy() for name, value in residual.state_dict().items()}
    weights: Weights = msgspec.structs.replace(make_weights(4), columns=columns)
    best = BestCheckpoint(tmp_path, config.algo)
    best.remember(weights, updates=1)
    best.consider([evaluation(4, 3)])
    policy = make_policy(config, base, tmp_path / "best.safetensors", num_envs=1)
    assert policy.weights_version == 4
    with pytest.raises(LayoutError, match=r"the best one is"):
        export_checkpoint(content(tmp_path))
