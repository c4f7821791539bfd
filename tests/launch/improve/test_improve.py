"""Laws of an improvement in rounds. Its commands are stand-ins here, which leave what real ones leave."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import msgspec
import pytest

from config.algo import AlgoConfig
from config.compose import compose_config
from config.improve import compose_improvement
from config.process import FailedError, StopRequest, UsageError
from config.section import ConfigError
from launch.improve import steps
from launch.improve.improve import improve
from tests.support.helpers import left_running

# Success of a base follows from its round: 40, 60, 80 %. A file `slow` makes a run hang.
STAND_IN = """
import json, pathlib, re, sys, time
verb, *words = sys.argv[1:]
given = dict(word.split("=", 1) for word in words if "=" in word)
with open("calls.jsonl", "a") as calls:
    calls.write(json.dumps([verb, words]) + chr(10))
print("{a line for people}")
if verb == "evaluate":
    found = re.search(r"round-(\\d+)", given["base.path"])
    success = 0.4 + 0.2 * int(found[1] if found else 0)
    print(json.dumps(dict(success=success, low=success - 0.1, high=success + 0.1, seeds=[0])))
if verb == "run":
    folder = pathlib.Path(given["runs_dir"].strip("'"), given["name"])
    folder.mkdir(parents=True, exist_ok=True)
    if (folder / "summary.json").exists():
        print("error: holds a run that is over")
        sys.exit(2)
    if pathlib.Path("broken").exists():
        sys.exit("error: no such base")
    while pathlib.Path("slow").exists():
        time.sleep(0.05)
    (folder / "summary.json").write_text(json.dumps(dict(final_success=0.98, frames=1000, episodes=20)))
"""


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(steps, "PROGRAM", (sys.executable, "-c", STAND_IN))
    return tmp_path


def calls() -> list[tuple[str, dict[str, str]]]:
    """Verb and words of each command so far."""
    read = [json.loads(line) for line in Path("calls.jsonl").read_text().splitlines()]
    return [(verb, dict(word.split("=", 1) for word in words if "=" in word)) for verb, words in read]


def run(*words: str) -> int:
    return improve(compose_improvement(["name=mine", "actor.num_envs=3", *words]), StopRequest())


def test_rounds_go_on_from_base_to_base_until_the_target(place: Path) -> None:
    assert run("rounds=5", "target=0.75") == 0
    done = calls()
    assert [verb for verb, _ in done] == ["evaluate"] + 2 * ["run", "run", "train-base", "evaluate"]
    residual, collect, training = (words for _, words in done[5:8])
    assert residual["base.path"] == collect["base.path"] == "'runs/mine/round-1/base'"
    assert residual["actor.num_envs"] == collect["actor.num_envs"] == "3"
    assert collect["algo"] == "collect" and collect["algo.from_run"] == "'runs/mine/round-2/residual'"
    assert residual["wire.experience_port"] != collect["wire.experience_port"]
    assert training["start_from"] == "'runs/mine/round-1/base'"
    assert training["demos"].endswith(
        "demos.h5','runs/mine/round-1/collect/replay','runs/mine/round-2/collect/replay']"
    )
    table = json.loads(Path("runs/mine/rounds.json").read_text())
    assert table["best_base"] == "runs/mine/round-2/base"
    assert [each["new_base_alone"]["success"] for each in table["rounds"]] == pytest.approx([0.6, 0.8])
    assert [each["base_alone"]["success"] for each in table["rounds"]] == pytest.approx([0.4, 0.6])
    text = Path("runs/mine/rounds.md").read_text()
    assert "| 2 | 60 % (50 to 70) | 98 % | 80 % (70 to 90) | 1,000 | 1,000 | 0 |" in text


def test_done_steps_are_not_repeated_and_rounds_may_be_added(place: Path) -> None:
    assert run("rounds=1", "target=0.9") == 1, "below the target"
    before = len(calls())
    assert run("rounds=1", "target=0.9") == 1 and len(calls()) == before
    assert run("rounds=2", "target=0.9") == 1 and len(calls()) == before + 4


def test_killed_between_the_end_of_a_run_and_its_note_it_takes_the_runs_result(place: Path) -> None:
    folder = Path("runs/mine/round-1")
    for step in ("residual", "collect"):
        (folder / step).mkdir(parents=True)
        (folder / step / "summary.json").write_text(json.dumps(dict(final_success=0.98, frames=9)))
    rate = dict(success=0.9, low=0.8, high=1.0, base="new", minutes=1.0)
    for place_of_note in (folder.parent / "start.json", folder / "evaluate.json", folder / "base.json"):
        place_of_note.write_text(json.dumps(rate))
    assert run("rounds=1", "target=0.95") == 1 and not Path("calls.jsonl").exists()
    assert json.loads((folder / "residual.json").read_text())["final_success"] == 0.98


def test_other_words_are_refused_for_the_same_folder(place: Path) -> None:
    run("rounds=1")
    with pytest.raises(UsageError, match="begun with successes=300, not 9"):
        run("rounds=1", "successes=9")
    with pytest.raises(UsageError, match="begun with actor.num_envs=3"):
        run("rounds=1", "actor.count=1")


def test_a_step_that_fails_is_one_line_with_its_cause(place: Path) -> None:
    Path("broken").touch()
    with pytest.raises(FailedError, match="residual RL on .* failed .*: no such base; its log: "):
        run()
    Path("broken").unlink()
    assert run("rounds=1", "target=0.5") == 0


def test_its_folder_is_no_runs_and_has_a_plain_name(place: Path) -> None:
    Path("runs/mine").mkdir(parents=True)
    Path("runs/mine/launch.yaml").touch()
    with pytest.raises(UsageError, match="runs/mine is the folder of a run: choose another name="):
        run()
    with pytest.raises(ConfigError, match="name must be letters, digits"):
        compose_improvement(["name=a/b"])


def test_words_that_a_round_sets_itself_are_refused() -> None:
    with pytest.raises(ConfigError, match="learner.total_frames=9: improve sets it itself"):
        compose_improvement(["learner.total_frames=9"])
    with pytest.raises(ConfigError, match="base=zero: improve trains diffusion bases"):
        compose_improvement(["base=zero"])
    with pytest.raises(ConfigError, match="algo=sft: a round begins with a residual"):
        compose_improvement(["algo=sft"])
    with pytest.raises(ConfigError, match="successes must be at least 1"):
        compose_improvement(["successes=0"])


def test_a_residual_of_a_package_is_refused_before_the_first_round(monkeypatch: pytest.MonkeyPatch) -> None:
    class Ours(AlgoConfig, frozen=True, tag="ours"):
        """What a package has."""

    first = compose_config([])
    algo = msgspec.convert(msgspec.to_builtins(first.algo) | {"kind": "ours", "name": "ours"}, Ours)
    first = msgspec.structs.replace(first, algo=algo)
    monkeypatch.setattr("config.improve.compose_config", lambda _: first)
    with pytest.raises(ConfigError, match="algo=ours: a round begins with a residual"):
        compose_improvement([])


@pytest.mark.parametrize("words", ["train=[iteratons=3]", "train=[iterations=x]", "collect=[algo.keeps=all]"])
def test_words_of_later_steps_are_checked_before_the_first_one(words: str) -> None:
    with pytest.raises(ConfigError, match="iteratons|iterations|keeps"):
        compose_improvement([words])


PROGRAM = """
import sys
from config.improve import compose_improvement
from config.process import stop_on_signals
from launch.improve import steps
from launch.improve.improve import improve
steps.PROGRAM = (sys.executable, "-c", open("stand_in.py").read())
stop = stop_on_signals()
sys.exit(improve(compose_improvement(["name=mine", "actor.num_envs=3", "rounds=1", "target=0.5"]), stop))
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_however_it_ends_nothing_is_left_running_and_it_goes_on(
    number: signal.Signals, place: Path, repository: Path
) -> None:
    Path("stand_in.py").write_text(STAND_IN)
    Path("slow").touch()
    environment = {**os.environ, "PYTHONPATH": str(repository)}
    process = subprocess.Popen([sys.executable, "-c", PROGRAM], env=environment, start_new_session=True)
    deadline = time.monotonic() + 60
    while not Path("runs/mine/round-1/residual").is_dir():
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(number)
    assert process.wait(30) == (128 + signal.SIGINT if number == signal.SIGINT else -signal.SIGKILL)
    assert left_running(process.pid, timeout_s=30) == []
    Path("slow").unlink()
    assert run("rounds=1", "target=0.5") == 0
    assert [verb for verb, _ in calls()] == ["evaluate", "run", "run", "run", "train-base", "evaluate"]
