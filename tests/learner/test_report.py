"""Laws of the measurements: every point on disk at once, wandb never in the way, pictures and tables."""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from config.process import UsageError
from launch.run.folder import MetricsReader
from launch.show import plot
from learner.report.metrics import Metrics
from learner.tracking.mirror import Tracker
from tests.support.tracked import tracked

NONE = "tracking=[]"


def lines(run_dir: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]


def test_point_is_on_disk_before_log_returns(tmp_path: Path) -> None:
    with Metrics(tracked(tmp_path / "run", NONE)) as metrics:
        metrics.log({"frames": 1, "success_base": None, "waiting_for": "actors"})
        assert lines(tmp_path / "run") == [{"frames": 1, "success_base": None, "waiting_for": "actors"}]


def test_numbers_of_numpy_and_nan_become_plain_json(tmp_path: Path) -> None:
    with Metrics(tracked(tmp_path, NONE)) as metrics:
        metrics.log({"frames": 1, "q_mean": np.float32(0.5), "loss/critic": float("nan")})
    assert lines(tmp_path) == [{"frames": 1, "q_mean": 0.5, "loss/critic": None}]


def test_resume_goes_on_and_drops_a_torn_line_and_new_begins_anew(tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").write_text('{"frames": 1}\n{"fra')
    with Metrics(tracked(tmp_path, NONE, resume=True)) as metrics:
        metrics.log({"frames": 2})
    assert lines(tmp_path) == [{"frames": 1}, {"frames": 2}]
    with Metrics(tracked(tmp_path, NONE)) as metrics:
        metrics.log({"frames": 3})
    assert lines(tmp_path) == [{"frames": 3}]


@pytest.fixture
def init_arguments(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What would have been given to wandb.init."""
    found: list[dict[str, Any]] = []

    class Mirror:
        def __init__(self, path: Path, tracker: Tracker, axis: str) -> None:
            found.extend(tracker.attempts)

        def end(self) -> None:
            pass

        def close(self, stop: None) -> None:
            pass

    monkeypatch.setattr("learner.tracking.trackers.Mirror", Mirror)
    return found


def test_wandb_resumes_in_the_same_run(tmp_path: Path, init_arguments: list[dict[str, Any]]) -> None:
    for resume in (False, True, False):
        Metrics(tracked(tmp_path, resume=resume)).close()
    ids = [arguments["id"] for arguments in init_arguments]
    assert ids[0] == ids[1] != ids[2]


def test_settings_come_from_a_dotenv_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, init_arguments: list[dict[str, Any]]
) -> None:
    monkeypatch.setenv("WANDB_ENTITY", "to be removed again")
    monkeypatch.delenv("WANDB_ENTITY")
    (tmp_path / ".env").write_text("WANDB_ENTITY=somebody\n")
    monkeypatch.chdir(tmp_path)
    Metrics(tracked(tmp_path / "run")).close()
    assert os.environ.pop("WANDB_ENTITY") == "somebody"


@pytest.mark.parametrize(
    ("configured", "environment", "used"),
    [
        (None, {}, ("residual-rl", None)),
        (None, {"WANDB_PROJECT": "theirs", "WANDB_RUN_GROUP": "a-study"}, ("theirs", "a-study")),
        ("mine", {"WANDB_PROJECT": "theirs", "WANDB_RUN_GROUP": "a-study"}, ("mine", "mine")),
    ],
)
def test_names_are_those_configured_else_those_of_the_environment(
    configured: str | None,
    environment: dict[str, str],
    used: tuple[str, str | None],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    init_arguments: list[dict[str, Any]],
) -> None:
    for name in ("WANDB_PROJECT", "WANDB_RUN_GROUP"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    name = "null" if configured is None else configured
    words = (f"wandb.project={name}", f"wandb.group={name}", "tracking=[wandb,trackio]")
    Metrics(tracked(tmp_path / "run", *words)).close()
    assert [(given["project"], given["group"]) for given in init_arguments] == [used, used]


def test_reader_leaves_an_unfinished_line_for_later(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    reader = MetricsReader(tmp_path)
    assert reader.read() == []
    path.write_text('{"frames": 1}\n{"frames"')
    assert reader.read() == [{"frames": 1}]
    with path.open("a") as file:
        file.write(": 2}\n")
    assert reader.read() == [{"frames": 2}]


@pytest.mark.parametrize(
    ("rate", "trials", "interval"),
    # By hand: z = 1.96; for 5 of 10 (0.5 + 0.19208) / 1.38416 -+ 1.96 / 1.38416 * sqrt(0.025 + 0.0096)
    [(0.5, 10, (0.2366, 0.7634)), (0.0, 10, (0.0, 0.2775)), (1.0, 100, (0.9630, 1.0))],
)
def test_wilson_interval(rate: float, trials: int, interval: tuple[float, float]) -> None:
    assert plot.wilson_interval(rate, trials) == pytest.approx(interval, abs=1e-3)


def test_plot_draws_evaluations_behaviour_and_base(tmp_path: Path) -> None:
    with Metrics(tracked(tmp_path / "run", NONE)) as metrics:
        metrics.log({"frames": 0, "success_base": 0.4, "eval_episodes": 100})
        for frames in range(0, 50_000, 5000):
            metrics.log({"frames": frames, "success_behaviour": 0.2 + frames / 1e5, "success_full": None})
        metrics.log({"frames": 50_000, "success_full": 0.9, "eval_episodes": 100})
    curve = plot.read_curve(tmp_path / "run")
    assert curve.base == plot.Measured(frames=0, rate=0.4, episodes=100)
    assert curve.full == [plot.Measured(frames=50_000, rate=0.9, episodes=100)]
    assert len(curve.behaviour) == 10
    plot.plot_runs([str(tmp_path / "run")], tmp_path / "docs/success.png")
    assert (tmp_path / "docs/success.png").read_bytes().startswith(b"\x89PNG")


def test_plot_of_an_unknown_run_says_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="nothing/metrics.jsonl has no point"):
        plot.plot_runs([str(tmp_path / "nothing")], tmp_path / "x.png")
