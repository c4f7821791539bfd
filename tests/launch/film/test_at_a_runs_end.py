"""Laws of the films at a run's end: after the summary, within a limit, and never the run's failure."""

import logging
import shlex
import sys
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from config.compose import compose_config
from config.main import Config
from config.process import StopRequest
from launch.run import films
from launch.run.films import film_command, is_filmed, make_films
from launch.run.processes import Command
from launch.study.study import read_study, run_overrides, trials

SLEEP = "import time; print('film | stop now', flush=True); time.sleep(60)"


@pytest.fixture
def end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> Callable[..., tuple[list[str], str]]:
    """What appears, and what is said, at the end of a run whose films are made by `source`."""
    caplog.set_level(logging.INFO)

    def run(source: str, *words: str, stop: StopRequest | None = None) -> tuple[list[str], str]:
        config, lines = compose_config([f"runs_dir={tmp_path}", "name=a", *words]), list[str]()
        made = Command("films", "films", (sys.executable, "-c", source))
        monkeypatch.setattr(films, "film_command", lambda _: made)

        def echo(_: str, line: str) -> None:
            lines.append(line)
            if "stop now" in line:
                asked.set()

        make_films(config, tmp_path / "logs", asked := stop or StopRequest(), echo)
        return lines, caplog.text

    return run


def test_its_lines_appear_and_a_failure_is_said_with_the_command_that_makes_them_later(end, tmp_path) -> None:
    lines, said = end("print('film | done')")
    assert lines == ["film | done"] and "warning" not in said.lower()
    assert "filming 3 seeds, at most 15 min; Ctrl-C skips it" in said and "films are in" not in said
    (tmp_path / "a/videos").mkdir(parents=True)
    assert "films are in" not in end("")[1]  # nothing draws here
    (tmp_path / "a/videos/one.mp4").touch()
    assert f"films are in {tmp_path}/a/videos" in end("")[1]
    _, said = end("raise SystemExit(1)")
    assert (
        f"not all films could be made (exit code 1): residual-rl film {shlex.quote(f'{tmp_path}/a')}" in said
    )


def test_nothing_is_filmed_where_it_is_turned_off_or_the_run_is_stopped(end) -> None:
    assert end("print('film')", "learner.evaluation.videos=0") == ([], "")
    stop = StopRequest()
    stop.set()
    assert end("print('film')", stop=stop) == ([], "")


def test_a_run_that_plays_a_residual_and_trains_none_is_not_filmed() -> None:
    unlimited = ["learner.replay_max_gb=null", "learner.replay_max_frames=null"]
    trains, plays = compose_config([]), compose_config(["algo=collect", "algo.episodes=1", *unlimited])
    algo = msgspec.structs.replace(plays.algo, residual=trains.algo)
    assert is_filmed(trains) and not is_filmed(msgspec.structs.replace(plays, algo=algo))


def test_it_ends_at_its_limit_and_at_ctrl_c(end) -> None:
    began_s = time.monotonic()
    _, said = end("import time; time.sleep(60)", "learner.evaluation.videos_s=0.3")
    assert "films: no time is left (learner.evaluation.videos_s); make them later: residual-rl film" in said
    _, said = end(SLEEP)
    assert "films: skipped; make them later: residual-rl film" in said
    assert time.monotonic() - began_s < 15


def test_as_many_are_made_as_the_configuration_asks_for() -> None:
    config: Config = compose_config(["runs_dir=there", "name=a", "learner.evaluation.videos=5"])
    assert film_command(config).argv[3:] == (
        "film", "there/a", "trust_remote_code=false", "--pairs", "5", "--if-possible",
    )  # fmt: skip


def test_a_study_makes_none_unless_it_is_told_to() -> None:
    for common, expected in (("[]", ["0"]), ("[learner.evaluation.videos=2]", ["2"])):
        study = read_study([f"common={common}"])
        words = run_overrides(next(iter(trials(study))), study)
        assert [w.partition("=")[2] for w in words if w.startswith("learner.evaluation.videos")] == expected
