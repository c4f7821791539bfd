"""What README.md and the pages in docs/ name is there, and what README.md says to type is understood."""

import importlib.util
import re
import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from actor.remote import make_overrides
from config.compose import compose_config
from config.train_base import compose_training
from launch.demos.make_demos import parse_arguments
from launch.run.remote_actor import parse_words
from launch.show.viz import make_parser as viz_parser
from launch.study.study import read_study
from learner.replay.__main__ import make_parser as replay_parser
from tests.support.helpers import make_config

READERS = {
    "bash launch/start.sh": compose_config,
    "bash launch/train_base.sh": compose_training,
    "bash launch/demos.sh": lambda words: parse_arguments([*words]),
    "bash launch/actor.sh": lambda words: compose_config(make_overrides(*parse_words(words), "host")),
    "bash launch/viz.sh": lambda words: viz_parser().parse_args(words),
    ".venv/bin/python -m launch.study": read_study,
    ".venv/bin/python -m learner.replay": lambda words: replay_parser().parse_args(words),
}


def commands(text: str) -> Iterator[list[str]]:
    """The words of every line of a block that a shell gets."""
    for block in re.findall(r"```bash\n(.*?)```", text, re.DOTALL):
        for line in re.sub(r"<[^>]*>", "x", block.replace("\\\n", " ")).splitlines():
            yield shlex.split(line, comments=True)


def reader_of(words: Sequence[str]) -> str | None:
    return next((name for name in READERS if [*words][: len(name.split())] == name.split()), None)


def test_every_command_is_understood(repository: Path) -> None:
    read = 0
    for words in commands((repository / "README.md").read_text()):
        name = reader_of(words)
        if name is not None and "--help" not in words:
            READERS[name](words[len(name.split()) :])
            read += 1
    assert read > 20


def test_every_script_module_and_file_is_there(repository: Path) -> None:
    pages = [repository / "README.md", *repository.glob("docs/*.md"), *repository.glob("docs/reference/*.md")]
    text = "".join(page.read_text() for page in pages)
    scripts = set(re.findall(r"bash (launch/[a-z_]+\.sh)", text))
    files = set(re.findall(r"`((?:actor|bases|config|docs|launch|learner|protocol|tests)/[\w./-]+)`", text))
    assert len(scripts) > 5 and len(files) > 20
    assert [name for name in scripts | files if not (repository / name).exists()] == []
    modules = set(re.findall(r"python -m ([a-z_.]+)", text))
    assert len(modules) > 8
    assert [name for name in modules if importlib.util.find_spec(name) is None] == []


def test_every_key_is_one(repository: Path) -> None:
    text = (repository / "README.md").read_text()
    keys = set(re.findall(r"`((?:learner|actor|wire|algo|base|task)\.[a-z_.]+)(?:=[^`]*)?`", text))
    assert len(keys) > 15
    config = msgspec.to_builtins(make_config())
    for key in keys:
        section = config
        for part in key.split("."):
            assert part in section, f"README.md names {key}"
            section = section[part]
