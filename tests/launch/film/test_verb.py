"""Laws of `residual-rl film`: what cannot be filmed is one line, before any picture is drawn."""

import logging
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from actor.policy.checkpoint_file import write_safetensors
from actor.simulators import maniskill
from actor.simulators.contract import RenderError
from config.compose import compose_config, write_config
from config.files import locked
from config.process import StopRequest, UsageError, one_line
from launch.cli.group import cli
from launch.show.film import make


def no_device() -> str:
    raise RenderError("task.cameras and films need a Vulkan device (apt-get install chromium)")


@pytest.fixture(autouse=True)
def nothing_is_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(maniskill, "choose_renderer", no_device)


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    """A run with a residual that nobody evaluated."""
    folder = tmp_path / "runs" / "a"
    write_config(folder / "config.yaml", compose_config([f"runs_dir={folder.parent}", "name=a"]))
    (folder / "checkpoints").mkdir()
    write_safetensors(folder / "checkpoints/newest.safetensors", {"version": 3, "actor": {}})
    return folder


def film(*words: object) -> tuple[int | None, str]:
    """Exit code, None where an error ends it, and the line that is said."""
    result = CliRunner().invoke(cli, ["film", *map(str, words)], standalone_mode=False)
    if result.exception is None:
        return result.return_value, result.output
    assert isinstance(result.exception, UsageError | click.UsageError), result.exception
    return None, one_line(result.exception)


def without_checkpoints(run_dir: Path) -> None:
    shutil.rmtree(run_dir / "checkpoints")


def with_a_file_as_folder(run_dir: Path) -> None:
    (run_dir / "videos").touch()


def with_a_damaged_configuration(run_dir: Path) -> None:
    (run_dir / "config.yaml").write_text("task: [")


def as_it_is(run_dir: Path) -> None:
    assert run_dir.is_dir()


@pytest.mark.parametrize(
    ("spoil", "words", "said"),
    [
        (shutil.rmtree, (), "no run "),
        (without_checkpoints, (), "checkpoints has no residual yet"),
        (with_a_file_as_folder, (), "videos cannot be written: "),
        (with_a_damaged_configuration, (), "config.yaml: "),
        (as_it_is, (), "need a Vulkan device (apt-get install chromium)"),
        (as_it_is, ("--timelapse",), "has 0 evaluated residuals, a time lapse needs two"),
        (as_it_is, ("--timelapse", "--policy", "base"), "--timelapse shows the base and several residuals"),
        (as_it_is, ("--seeds", "1,x"), "'x' is no seed: give numbers"),
        (as_it_is, ("--seeds", ""), "'' is no seed"),
        (as_it_is, ("--seeds", str(2**63)), "is no seed"),
        (as_it_is, ("--policy", "both"), "'both' is no policy: give base, full, or base,full"),
        (as_it_is, ("--size", "3x4"), "'3x4' is no size: give WIDTHxHEIGHT"),
        (as_it_is, ("--pairs", "0"), "0 is not in the range"),
    ],
)
def test_what_cannot_be_filmed_is_one_line(
    spoil: Callable[[Path], None], words: tuple[str, ...], said: str, run_dir: Path
) -> None:
    spoil(run_dir)
    code, line = film(run_dir, *words)
    assert code is None and said in line and "\n" not in line


def test_no_run_and_two_runs_are_refused() -> None:
    assert "name a run" in film()[1]
    assert "one run at most" in film("a", "b")[1]


def test_at_a_runs_end_a_host_that_draws_nothing_is_said_and_is_no_failure(run_dir: Path) -> None:
    code, output = film(run_dir, "--if-possible")
    assert code == 0
    assert output.splitlines()[-1] == (
        "no films: task.cameras and films need a Vulkan device (apt-get install chromium)"
    )


def test_it_runs_at_the_lowest_priority(run_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    added = list[int]()
    monkeypatch.setattr(os, "nice", added.append)
    film(run_dir)
    assert added == [19]


def test_a_base_that_is_gone_is_one_line(run_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(maniskill, "choose_renderer", lambda: "gpu")
    code, line = film(run_dir, "base.path=gone")
    assert code is None and "no folder gone with a base" in line and "base.path=" in line


@pytest.fixture
def over(run_dir: Path, caplog: pytest.LogCaptureFixture) -> Path:
    """A run that is over, and was kept by W&B offline. All of it was handed over."""
    caplog.set_level(logging.INFO)
    for name in ("summary.json", "wandb_id", "launch.lock", "wandb/offline-run-1/run-1.wandb"):
        (run_dir / name).parent.mkdir(parents=True, exist_ok=True)
        (run_dir / name).write_text("{}")
    return run_dir


def send(run_dir: Path, caplog: pytest.LogCaptureFixture) -> list[str]:
    # Its folder may have been moved since then.
    make.send_films(run_dir, compose_config(["runs_dir=elsewhere", "name=b"]), StopRequest())
    return [record.getMessage() for record in caplog.records]


def test_films_made_by_hand_go_to_the_runs_wandb_too(over: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert send(over, caplog) == [f"W&B: to send it: wandb sync {over}/wandb/offline-run-1"]


@pytest.mark.parametrize("lacks", ["summary.json", "wandb_id"])
def test_a_run_that_goes_on_or_is_not_on_wandb_is_left_alone(
    lacks: str, over: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (over / lacks).unlink()
    assert send(over, caplog) == [] and not (over / "results.jsonl").exists()


def test_a_launcher_sends_the_films_of_its_own_run(over: Path, caplog: pytest.LogCaptureFixture) -> None:
    with locked(over / "launch.lock", AssertionError()):
        assert send(over, caplog) == []
