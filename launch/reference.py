"""Writes docs/reference/configuration.md and command-line.md: python -m launch.reference [--check]

The first comes from the YAML files of config/ and their comments, the second from the help of every verb.
--check writes nothing, and ends with exit code 1 if a file on disk differs.
"""

import itertools
import logging
from collections.abc import Iterator
from pathlib import Path

import click

from config.files import replace_text
from config.keys import Configuration, Group, Key, KeyFile, configuration_of
from config.process import FAILED, run_main
from launch.cli.group import cli
from launch.cli.verb import PROGRAM

log = logging.getLogger(__name__)

FOLDER = Path(__file__).resolve().parent.parent / "docs" / "reference"
WIDTH = 100
_MADE = "<!-- Made by `python -m launch.reference`. -->"

_CONFIGURATION = f"""# Configuration

{_MADE}

Every default is in a YAML file of `config/`. Any key can be set on the command line with `key=value`; an
unknown key is an error. Lists and maps are YAML in quotes: `'task.cameras=[base_camera]'`. The value of a
key that is text is what stands behind `=`, whatever it looks like: `name=1e3`,
`'learner.demos=my path/a=b.h5'`, or `'learner.demos=[one path/a=b.h5, "with, comma.h5"]'` for several.
Quotes around a whole text are taken off, `null` is null where the key may be null, and `${{key}}` is the
value of another key.
`residual-rl run --print-config` prints what is composed from given words. `config/spaces.yaml` has no keys to
set: it lists the dimensions of tasks and control modes.

Some defaults are computed:

- `${{other.key}}`: the value of another key.
- `${{shipped:path}}`: the path, or the same path in this project's folder if only that exists.
- `${{relations_of:task}}`: the entry of `task.relations` for that task, else none.
- `${{now:format}}`: date and time of the start.
"""

_COMMAND_LINE = f"""# Command line

{_MADE}

`residual-rl` is a program of the environment `.venv`: call it as `.venv/bin/residual-rl`, or after
`source .venv/bin/activate`. `python -m launch` is the same. Words without a sign name things (a run, a
file), `key=value` sets a key of the [configuration](configuration.md), and options that begin with `--`
belong to a verb. Exit codes: 0 done, 1 failed or below the bar asked for, 2 cannot be started as asked,
128 + N ended by signal N.
"""


def configuration_page() -> str:
    """docs/reference/configuration.md"""
    parts = {
        "`run`, `learner`, `actor`, `evaluate`, `inspect`": "run",
        "`train-base`": "train_base",
        "`demos`": "demos",
        "`study`": "study",
        "`train-reward`": "train_reward",
        "`improve`": "improve",
    }
    sections = [_part(title, configuration_of(section)) for title, section in parts.items()]
    return "\n".join([_CONFIGURATION, *sections])


def _part(title: str, configuration: Configuration) -> str:
    files = [_file(file) for file in configuration.files]
    return "\n".join([f"## {title}\n", *files, *map(_group, configuration.groups)])


def _group(group: Group) -> str:
    """Which file is chosen how, and each of them."""
    choices = ", ".join(f"`{group.name}={option}`" for option in group.options)
    default = f"`{group.default}`" if group.default else "none; each sets keys of other files"
    files = [_file(file) for file in sorted(group.files, key=lambda file: file not in group.chosen)]
    return "\n".join([f"One of {choices}; default: {default}.\n", *files])


def _file(file: KeyFile) -> str:
    lines = [f"### config/{file.path}\n", f"{_escaped(file.about)}\n"]
    for heading, keys in itertools.groupby(file.keys, key=lambda key: key.heading):
        lines += [f"{heading}\n"] if heading else []
        lines += ["| key | default | meaning |", "| --- | --- | --- |", *map(_row, keys), ""]
    return "\n".join(lines)


def _row(key: Key) -> str:
    default = f"`{key.default}`" if key.default else ""
    return f"| `{key.name}` | {default} | {_escaped(key.meaning)} |"


def _escaped(text: str) -> str:
    """Plain text that Markdown shows as it is."""
    return text.replace("<", "&lt;").replace("*", r"\*").replace("|", r"\|")


def command_line_page(group: click.Group) -> str:
    """docs/reference/command-line.md: the help of `group` and of everything below it."""
    sections = (
        f"{'#' * depth} {path}\n\n```text\n{text}\n```\n" for path, depth, text in _helps(group, PROGRAM)
    )
    return "\n".join([_COMMAND_LINE, *sections])


def _helps(
    command: click.Command, name: str, parent: click.Context | None = None, depth: int = 2
) -> Iterator[tuple[str, int, str]]:
    """(path, depth, help) of a command and of those below it, as click shows them."""
    width = {"terminal_width": WIDTH, "max_content_width": WIDTH}
    context = command.make_context(name, [], parent, resilient_parsing=True, **width)
    yield context.command_path, depth, command.get_help(context).rstrip()
    if isinstance(command, click.Group):
        for below_name in command.list_commands(context):
            below = command.get_command(context, below_name)
            if below is not None and not below.hidden:
                yield from _helps(below, below_name, context, depth + 1)


def pages() -> dict[Path, str]:
    """Each file and what it must contain."""
    return {
        FOLDER / "configuration.md": configuration_page(),
        FOLDER / "command-line.md": command_line_page(cli),
    }


def stale_pages() -> list[Path]:
    """Files that differ from what they must contain."""
    return [path for path, text in pages().items() if not path.is_file() or path.read_text() != text]


@click.command(help=__doc__)
@click.option("--check", is_flag=True, help="write nothing; exit code 1 if a file on disk differs")
def command(check: bool) -> int:
    stale = stale_pages()
    for path in stale:
        log.info("%s %s", path, "differs: python -m launch.reference" if check else "written")
        if not check:
            replace_text(path, pages()[path])
    return FAILED if check and stale else 0


if __name__ == "__main__":
    run_main(lambda argv: command.main(argv, prog_name="python -m launch.reference", standalone_mode=False))
