"""Every verb with every kind of path that people give: one line, exit code 2, and nothing left running."""

import itertools
import json
import logging
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import click
import pytest

from launch.cli.group import cli
from launch.cli.verb import FilePath
from tests.support.ordinary_user import ordinary_user
from tests.support.program import residual_rl

KINDS: dict[str, Callable[[Path], object]] = {
    "missing": lambda path: None,
    "folder": lambda path: (path.mkdir(), (path / "file").touch()),
    "empty": lambda path: path.mkdir(),
    "file": lambda path: path.write_bytes(b"\x80 no file of ours"),
    "zero": lambda path: path.touch(),
    "locked": lambda path: path.mkdir(mode=0),
    "ü = ß": lambda path: path.mkdir(),
    "ü = ß.h5": lambda path: path.write_text("{"),
    "broken": lambda path: path.symlink_to("nowhere"),
    "loop": lambda path: path.symlink_to(path),
    "pipe": lambda path: os.mkfifo(path),
    "device": lambda path: path.symlink_to("/dev/null"),
    "long" * 70: lambda path: None,
}
# A folder is what these take.
FOLDERS = {"runs {}", "jobs {}", "keys --dir {}"}
# Keys that name what must be there already, each with a verb that does nothing before it looks at it.
INPUTS = {
    "train-base demos={}": "out=out", "run base.path={}": "", "evaluate base.path={}": "",
    "actor tcp://127.0.0.1:1 wire.keys_dir={}": "",
}  # fmt: skip


def verbs(group: click.Group, *above: str) -> Iterator[tuple[list[str], click.Command]]:
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from verbs(command, *above, name)
        else:
            yield [*above, name], command


def choices(param: click.Parameter) -> list[list[str]]:
    """Words for a parameter; {} stands for the path."""
    option = [param.opts[0]] if isinstance(param, click.Option) else []
    if option and isinstance(param.type, click.Choice):
        return [[*option, str(choice)] for choice in param.type.choices]
    return [[*option, "{}"]]


def command_lines() -> list[str]:
    """Each verb with the path in place of every argument, and with each option that names a path."""
    lines: list[str] = []
    for words, verb in verbs(cli):
        required = [param for param in verb.params if param.required]
        arguments = [param for param in verb.params if isinstance(param, click.Argument)]
        options = [
            p for p in verb.params if isinstance(p.type, FilePath) and p not in (*required, *arguments)
        ]
        for more in itertools.product(*map(choices, dict.fromkeys([*arguments, *required]))):
            lines.append(" ".join([*words, *itertools.chain(*more)]))
        lines += [" ".join([*words, *choices(p)[0]]) for p in options if not required]
    return [*dict.fromkeys(lines), *(f"{line} {more}" for line, more in INPUTS.items())]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("paths")
    for name, make in KINDS.items():
        make(folder / name)
    return folder


def children() -> list[str]:
    return Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()


@pytest.mark.timeout(60)
@pytest.mark.parametrize("line", command_lines())
def test_a_path_that_is_no_such_thing_is_one_line(
    line: str, place: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd, caplog
) -> None:
    caplog.set_level(logging.ERROR)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    before, there_before = set(threading.enumerate()), children()
    for name in KINDS:
        if line in FOLDERS and (name == "missing" or os.path.isdir(place / name)):
            continue
        words = [word.replace("{}", str(place / name)) for word in line.split()]
        with ordinary_user():
            code = residual_rl(*words)
        said = capfd.readouterr()
        assert (code, said.out) == (2, ""), (words, said)
        assert said.err.count("\n") == 1 and said.err.startswith("error: "), (words, said.err)
    assert not [thread for thread in set(threading.enumerate()) - before if not thread.daemon]
    assert children() == there_before
    assert not list(tmp_path.iterdir())


# {} cannot be written as the verb needs it.
OUTPUTS = {
    "convert {demos} {} --to h5": ["folder", "locked/a.h5", "file/a.h5", "long" * 70],
    "convert {demos} {} --to lerobot": ["locked/a", "file/a", "long" * 70],
    "plot {run} --out {}": ["folder.png", "locked/a.png", "file/a.png", "long" * 70 + ".png"],
    "viz {run} --all --save {}": ["file", "locked", "pipe", "device", "long" * 70],
    "keys --dir {}": ["file", "zero", "broken/a", "loop", "pipe", "device", "long" * 70],
    "run actor.count=1 runs_dir={}": ["file", "locked", "loop", "pipe", "device", "long" * 70],
    "learner base=zero runs_dir={}": ["file", "locked", "loop", "pipe", "device", "long" * 70],
    "study record={}": ["folder", "locked/a", "file/a", "pipe"],
    "study table={}": ["folder", "locked/a", "file/a", "pipe"],
    "study runs_dir={}": ["file", "locked", "device"],
    "train-base demos={demos} out={}": ["file", "locked", "pipe", "device", "long" * 70],
    "demos task=PushCube-v1 out={}": ["file", "locked", "pipe", "device", "long" * 70],
}


@pytest.fixture(scope="module")
def given(place: Path, repository: Path) -> dict[str, str]:
    """What is as a verb needs it."""
    (place / "folder.png").mkdir()
    run = place / "run"
    (run / "replay").mkdir(parents=True)
    point = {"frames": 5, "success_behaviour": 0.5}
    (run / "metrics.jsonl").write_text(json.dumps(point) + "\n")
    return {"demos": str(repository / "bases/PickCube-v1/demos.h5"), "run": str(run)}


@pytest.mark.timeout(60)
@pytest.mark.parametrize("line", OUTPUTS)
def test_a_place_that_cannot_be_written_is_one_line(
    line: str, place: Path, given: dict[str, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd
) -> None:
    monkeypatch.chdir(tmp_path)
    # What takes long must not begin.
    monkeypatch.setattr("launch.demos.start.subprocess", None)
    monkeypatch.setattr("launch.run.processes.Team.start", None)
    for name in OUTPUTS[line]:
        with ordinary_user():
            code = residual_rl(*(word.format(place / name, **given) for word in line.split()))
        said = capfd.readouterr()
        assert code == 2 and "Traceback" not in said.out, (name, said)
        assert said.err.count("\n") == 1 and said.err.startswith("error: "), (name, said.err)
    assert not list(tmp_path.iterdir())
