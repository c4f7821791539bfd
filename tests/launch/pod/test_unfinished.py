"""The command that is printed for an unfinished run goes on with exactly that run."""

import shlex
from pathlib import Path

import pytest

from config.compose import compose_config, read_config, write_config
from config.process import UsageError
from launch.pod import unfinished
from launch.pod.unfinished import resume_command, unfinished_runs
from launch.run.folder import ROOT
from tests.support.run_folder import finish
from tests.support.watched_run import start_launcher

WORDS = [
    [],
    ["task=stack_cube", "seed=3", "learner.total_frames=5000", "tracking=[]", "resume=new"],
    ["base=zero", "base.path='my base'", "wire.experience_port=7000", "learner.stop_at=null"],
]


@pytest.mark.parametrize("words", WORDS)
def test_the_command_has_the_runs_own_settings(words: list[str], tmp_path: Path) -> None:
    run_dir = tmp_path / "my-run"
    write_config(run_dir / "launch.yaml", compose_config(["name=another", *words]))
    cd, root, then, program, verb, *again = shlex.split(resume_command(run_dir))
    assert (cd, root, then, program, verb) == ("cd", str(ROOT), "&&", ".venv/bin/residual-rl", "run")
    assert (ROOT / program).exists()
    wanted = compose_config(["name=my-run", *(word for word in words if not word.startswith("resume"))])
    assert compose_config(again) == wanted != read_config(run_dir / "launch.yaml")


def test_a_learner_that_was_started_alone_goes_on_alone(tmp_path: Path) -> None:
    write_config(tmp_path / "one" / "config.yaml", compose_config(["name=one"]))
    assert ".venv/bin/residual-rl learner name=one" in resume_command(tmp_path / "one")


def test_runs_that_are_over_and_folders_of_others_are_left_out(tmp_path: Path) -> None:
    for name in ("over", "open"):
        write_config(tmp_path / name / "launch.yaml", compose_config([f"name={name}"]))
    (tmp_path / "spools").mkdir()
    finish(tmp_path / "over")
    assert [run_dir.name for run_dir in unfinished_runs(tmp_path)] == ["open"]
    assert list(unfinished_runs(tmp_path / "none")) == []


def test_what_runs_is_not_started_twice_and_what_cannot_be_read_is_said(
    tmp_path: Path, repository: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(unfinished, "ROOT", tmp_path)
    caplog.set_level("INFO")
    unfinished.main([])
    for name in ("a", "b"):
        (tmp_path / "runs" / name).mkdir(parents=True)
        (tmp_path / "runs" / name / "launch.yaml").write_text("[torn")
    with start_launcher(tmp_path / "runs" / "a", repository) as launcher:
        unfinished.main([])
        launcher.kill()
    assert caplog.messages[:2] == ["no run is unfinished", "a runs"]
    assert "launch.yaml and config.yaml cannot be read" in caplog.messages[2] and len(caplog.messages) == 3
    with pytest.raises(UsageError):
        resume_command(tmp_path / "runs" / "b")
