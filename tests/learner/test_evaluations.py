"""Laws of evaluations.jsonl: each evaluation once, whatever was killed, with the outcome of each seed."""

import json
from pathlib import Path

import msgspec
import pytest

from learner.report.evaluations import EvaluationLog, EvaluationRecord, read_evaluations
from learner.report.progress import RunProgress
from protocol.messages import Evaluation
from tests.support.helpers import make_config

BASE = Evaluation(
    session=1, sequence=0, policy="base", version=0, successes=[True, False], seeds=[7, 8], wall_s=1.5
)
FULL = msgspec.structs.replace(BASE, policy="full", version=3, sequence=1, successes=[True, True])


def record(evaluation: Evaluation) -> EvaluationRecord:
    return EvaluationRecord.of(evaluation, {"frames": 120, "updates": 30, "t_s": 2.5, "success_full": 1.0})


def test_a_line_has_the_outcome_of_each_seed_and_what_the_weights_had_learned_from(tmp_path: Path) -> None:
    EvaluationLog(tmp_path, resume=False).add(record(FULL))
    assert [json.loads(line) for line in (tmp_path / "evaluations.jsonl").read_text().splitlines()] == [
        {
            "policy": "full", "version": 3, "frames": 120, "updates": 30, "t_s": 2.5,
            "seeds": [7, 8], "successes": [True, True], "wall_s": 1.5,
        }
    ]  # fmt: skip
    assert read_evaluations(tmp_path) == [record(FULL)]
    assert read_evaluations(tmp_path)[0].outcomes == {7: True, 8: True}


def test_a_resumed_run_writes_none_twice_drops_a_torn_line_and_a_new_run_begins_anew(tmp_path: Path) -> None:
    EvaluationLog(tmp_path, resume=False).add(record(BASE))
    with (tmp_path / "evaluations.jsonl").open("a") as file:
        file.write('{"policy": "fu')
    again = EvaluationLog(tmp_path, resume=True)
    for evaluation in (BASE, FULL, FULL):
        again.add(record(evaluation))
    assert read_evaluations(tmp_path) == [record(BASE), record(FULL)]
    longer = msgspec.structs.replace(FULL, seeds=[7, 8, 9], successes=[True, True, False])
    again.add(record(longer))
    assert read_evaluations(tmp_path)[-1] == record(longer)
    EvaluationLog(tmp_path, resume=False)
    assert read_evaluations(tmp_path) == []


@pytest.mark.parametrize(
    "line", ["[]", "{}", "nonsense", "[" * 100_000, '{"policy": "full", "version": "x"}']
)
def test_a_damaged_line_is_said_and_left_out(
    line: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    EvaluationLog(tmp_path, resume=False).add(record(BASE))
    with (tmp_path / "evaluations.jsonl").open("a") as file:
        file.write(line + "\n")
    EvaluationLog(tmp_path, resume=True).add(record(FULL))
    caplog.clear()
    assert read_evaluations(tmp_path) == [record(BASE), record(FULL)]
    assert "evaluations.jsonl: line 2 is left out" in caplog.text and len(caplog.records) == 1


def test_an_evaluation_has_the_same_point_again_in_the_process_that_resumes() -> None:
    progress, resumed = RunProgress(make_config()), RunProgress(make_config())
    progress.published(version=3, updates=30, now_s=2.5)
    point = progress.add_evaluation(FULL)
    resumed.load_state(progress.state())
    assert resumed.point_of(FULL) == point and resumed.evaluations == []
