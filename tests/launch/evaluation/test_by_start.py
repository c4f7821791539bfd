"""Success by where episodes start."""

import pytest

from actor.evaluation import Outcome
from config.compose import compose_config
from config.process import StopRequest, UsageError
from launch.evaluation import evaluate
from launch.evaluation.by_start import by_start, chosen_dimensions
from launch.evaluation.subject import Subject


def outcomes(count: int) -> list[Outcome]:
    """Dimension 0 counts down with the seed, 1 rests; the lower half of dimension 0 succeeds."""
    return [
        Outcome(seed=i, success=count - i <= count // 2, true_success=None, frames=9, start=[count - i, 5.0])
        for i in range(count)
    ]


def test_a_dimension_is_cut_into_ranges_of_as_many_episodes() -> None:
    tables = by_start(outcomes(8), [0, 1])
    assert list(tables) == [0], "a dimension that rests has no table"
    assert [(row.low, row.high, row.episodes, row.success) for row in tables[0]] == [
        (1, 2, 2, 1.0), (3, 4, 2, 1.0), (5, 6, 2, 0.0), (7, 8, 2, 0.0),
    ]  # fmt: skip


def test_parts_are_named_as_inspect_names_them() -> None:
    parts = {"agent.qpos": 2, "extra.obj_pose": 3}
    assert chosen_dimensions("obj_pose, 0", parts, 5) == [2, 3, 4, 0]
    for name in ("extra.obj_pose", "extra/obj_pose"):
        assert chosen_dimensions(name, parts, 5) == [2, 3, 4]
    with pytest.raises(UsageError, match=r"no such part, it has agent\.qpos, extra\.obj_pose"):
        chosen_dimensions("cube", parts, 5)


def test_a_dimension_beyond_the_observation_is_refused_before_anything_is_played(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(evaluate, "play", lambda *_: pytest.fail("it plays"))
    subject = Subject(compose_config(["task.sizes=[42,7]"]), None)
    with pytest.raises(UsageError, match="--by 99: an observation has the dimensions 0 to 41"):
        evaluate.evaluate_and_report(subject, evaluate.Asked(by="3,99"), StopRequest())
