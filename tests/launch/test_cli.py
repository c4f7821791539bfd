"""residual-rl: help that fits, examples that work, completion in a real bash."""

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from config.keys import configuration_of
from launch.cli.group import cli
from launch.cli.verb import PROGRAM, Verb, split_words
from learner.intervals import wilson_interval

SCREEN_LINES, SCREEN_COLUMNS = 40, 100


def commands(group: click.Group, path: str = "") -> dict[str, click.Command]:
    """Every verb by its words."""
    found: dict[str, click.Command] = {}
    for name, command in group.commands.items():
        words = f"{path} {name}".strip()
        found |= commands(command, words) if isinstance(command, click.Group) else {words: command}
    return found


VERBS = commands(cli)
EXAMPLES = [
    (name, words)
    for name, verb in VERBS.items()
    for words in verb.examples  # pyright: ignore
]


def test_a_path_with_an_equals_sign_is_a_name_and_no_key() -> None:
    names, overrides = split_words(["runs/x=1/a", "seed=1", "~/b", "~algo.tau", "base.path=bases/x=1"])
    assert names == ["runs/x=1/a", "~/b"]
    assert overrides == ["seed=1", "~algo.tau", "base.path=bases/x=1"]


def test_every_verb_of_the_specification_is_there() -> None:
    wanted = (
        "run study learner actor evaluate train-reward improve submit jobs demos train-base inspect convert "
        "replay viz monitor "
        "runs plot report page compare film export push evaluate-open-loop keys"
    )
    assert list(cli.commands) == [*wanted.split(), "completion"]


@pytest.mark.parametrize("words", ["", "replay", *VERBS])
def test_help_fits_a_screen_and_says_how(words: str) -> None:
    shown = CliRunner().invoke(
        cli, [*words.split(), "--help"], prog_name=PROGRAM, terminal_width=SCREEN_COLUMNS
    )
    lines = shown.output.splitlines()
    assert shown.exit_code == 0 and len(lines) <= SCREEN_LINES
    assert max(map(len, lines)) <= SCREEN_COLUMNS
    if words in VERBS:
        assert isinstance(VERBS[words], Verb) and "Examples:" in lines
        assert f"  {PROGRAM} {words}" in shown.output


@pytest.mark.parametrize(("name", "example"), EXAMPLES)
def test_an_example_of_the_help_can_be_read(
    name: str, example: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it does is tested elsewhere: here its words must be those of the verb, and its keys must exist."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs/my-run/checkpoints").mkdir(parents=True)
    (tmp_path / "runs/my-run/checkpoints/newest.safetensors").touch()
    monkeypatch.setattr("launch.share.elsewhere.local_copy", lambda _: tmp_path)
    words = shlex.split(example.partition(" > ")[0].partition(" >> ")[0])
    if words[0] != name.split()[0]:
        name = words[0]  # what to do with its result
    assert words[: len(name.split())] == name.split()
    command = VERBS[name]
    context = command.make_context(name, words[len(name.split()) :], parent=click.Context(cli))
    given = [word for key in ("overrides", "words") for word in context.params.get(key, ()) if "=" in word]
    reader = READERS.get(words[0], _read_run)
    if name != "actor" or not any(word.startswith("tcp://") for word in context.params["words"]):
        reader(given)
    else:
        assert {word.partition("=")[0] for word in given} <= {
            key.name for key in configuration_of("run").keys
        }


def _read_run(words: list[str]) -> None:
    from config.compose import compose_config

    compose_config(words)


def _read_study(words: list[str]) -> None:
    from launch.study.study import read_study

    read_study(words)


def _read_demos(words: list[str]) -> None:
    from config.demos import compose_demos

    compose_demos(words)


def _read_training(words: list[str]) -> None:
    from config.train_base import compose_training

    compose_training(words)


def _read_rewards(words: list[str]) -> None:
    from config.train_reward import compose_reward_training

    compose_reward_training(words)


def _read_improvement(words: list[str]) -> None:
    from config.improve import compose_improvement

    compose_improvement(words)


READERS = {
    "study": _read_study,
    "demos": _read_demos,
    "train-base": _read_training,
    "train-reward": _read_rewards,
    "improve": _read_improvement,
}


@pytest.fixture
def completed(tmp_path: Path, repository: Path):
    """What a bash with the completion loaded offers at the end of a line."""
    program = tmp_path / PROGRAM
    program.write_text(f'#!/bin/sh\nPYTHONPATH={repository} exec {sys.executable} -m launch "$@"\n')
    program.chmod(0o755)
    (tmp_path / "runs/my-run").mkdir(parents=True)
    (tmp_path / "runs/my-run/launch.yaml").touch()
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}

    def complete(line: str) -> list[str]:
        script = (
            f"source <({PROGRAM} completion bash); compopt() {{ :; }}\n"
            f"COMP_LINE={shlex.quote(line)}; COMP_POINT=${{#COMP_LINE}}\n"
            f"_residual_rl_completion {PROGRAM}\n"
            'printf "%s\\n" "${COMPREPLY[@]}"'
        )
        said = subprocess.run(
            ["bash", "-c", script], cwd=tmp_path, env=environment, capture_output=True, text=True
        )
        assert said.returncode == 0 and said.stderr == "", said.stderr
        return said.stdout.split()

    return complete


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("residual-rl mon", ["monitor"]),
        ("residual-rl replay ve", ["verify"]),
        ("residual-rl run --pr", ["--print-config"]),
        ("residual-rl run task=pi", ["pick_cube"]),
        ("residual-rl run learner.total", ["learner.total_frames="]),
        ("residual-rl demos noi", ["noise="]),
        ("residual-rl train-base preset=sm", ["small"]),
        ("residual-rl viz m", ["my-run"]),
        ("residual-rl evaluate my", ["my-run"]),
        ("residual-rl convert a b --to pub", ["published"]),
    ],
)
def test_bash_completes(line: str, offered: list[str], completed) -> None:
    assert completed(line) == offered


def test_the_console_script_is_this_program(repository: Path) -> None:
    said = subprocess.run(
        [str(Path(sys.executable).with_name(PROGRAM)), "run", "--print-config", "name=abc"],
        cwd="/", capture_output=True, text=True,
    )  # fmt: skip
    assert said.returncode == 0 and "name: abc" in said.stdout.splitlines()
    assert f"  path: {repository}/bases/PickCube-v1" in said.stdout.splitlines()


def test_below_the_bar_is_exit_code_1_and_the_last_line_is_json(tmp_path: Path, repository: Path) -> None:
    words = ["evaluate", "base=zero", "learner.evaluation.episodes=2", "learner.evaluation.num_envs=2"]
    said = subprocess.run(
        [sys.executable, "-m", "launch", *words, "task.max_episode_steps=4", "--bar", "0.5"],
        cwd=repository, capture_output=True, text=True,
    )  # fmt: skip
    assert said.returncode == 1, said.stderr
    figures = json.loads(said.stdout.splitlines()[-1])
    assert figures["success"] == 0 and figures["seeds"] == [1_000_000, 1_000_001] and figures["low"] == 0


@pytest.mark.parametrize("words", [[], ["replay"]])
def test_no_words_are_a_usage_error_that_shows_the_help(words: list[str], repository: Path) -> None:
    said = subprocess.run(
        [sys.executable, "-m", "launch", *words], cwd=repository, capture_output=True, text=True
    )
    assert said.returncode == 2 and said.stdout == ""
    assert said.stderr.startswith("Usage: residual-rl") and len(said.stderr.splitlines()) > 8


def test_a_rate_is_never_outside_its_interval() -> None:
    for trials in range(1, 201):
        for successes in range(trials + 1):
            low, high = wilson_interval(successes / trials, trials)
            assert 0 <= low <= successes / trials <= high <= 1
