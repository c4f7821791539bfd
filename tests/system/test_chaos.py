"""The experience path under faults, with real processes; the long runs are `python -m tests.system.chaos` and
`python -m tests.system.fuzz`."""

import json
import subprocess
import sys
from typing import Any

import pytest

from tests.support.namespaces import refusal

# Ten times what they take on an idle machine.
pytestmark = pytest.mark.timeout(600)


def run(module: str, *arguments: str, timeout_s: float = 500) -> dict[str, Any]:
    """The one JSON object that a module prints as its last line."""
    words = [sys.executable, "-m", module, *arguments]
    done = subprocess.run(words, capture_output=True, text=True, timeout=timeout_s)
    assert done.stdout, done.stderr[-2000:]
    return json.loads(done.stdout.splitlines()[-1])


def test_each_row_is_there_once_whoever_is_killed_or_stopped() -> None:
    result = run("tests.system.chaos", "--cycles", "5", "--stop-s", "1.5")
    assert result["broken"] == []
    assert result["cycles"] == 5
    assert set(result["faults"]) == {"kill learner", "kill actor", "kill both", "stop learner", "stop actor"}
    assert result["rows_promised"] > 0
    # Who acted is there for each frame, once, as for all else of a row.
    assert result["frames_intervened"] > 0
    assert result["rows_in_replay"] == result["rows_sent"] + result["of_these_there"]


def test_each_picture_is_there_once_with_its_row_whoever_is_killed() -> None:
    result = run("tests.system.chaos", "--pictures", "--cycles", "4", "--stop-s", "0.5")
    assert result["broken"] == []
    assert result["rows_in_replay"] == result["rows_sent"] + result["of_these_there"] > 0
    # A picture and a depth of each frame, and of each episode's end.
    assert result["pictures"] > 2 * 4 * result["rows_in_replay"]


def test_each_row_is_there_once_over_a_link_that_was_cut() -> None:
    reason = refusal()
    if reason is not None:
        pytest.skip(reason)
    result = run(
        "tests.system.chaos", "--link", "--cycles", "6", "--stop-s", "0.2", "--cut-s", "3", "--limit-s", "60"
    )
    assert result["broken"] == []
    assert result["faults"]["cut link"] == 1


def test_malformed_messages_of_every_class_are_counted_and_harm_nobody() -> None:
    result = run("tests.system.fuzz", "--messages", "5000")
    assert result["broken"] == []
    assert result["actor_rows"] > 0
