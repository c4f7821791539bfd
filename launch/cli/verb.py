"""What all verbs share: one style of help, `key=value` words, and completion of keys and names of runs."""

import os
import stat
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import click
from click.shell_completion import CompletionItem

from config.keys import configuration_of
from config.process import PLAIN, UsageError, set_up_logging
from launch.share.elsewhere import is_elsewhere, local_copy, residual_in, with_local_copies

PROGRAM = "residual-rl"
ALL_KEYS = "docs/reference/configuration.md"
TRUST = {"trust_remote_code=true": "code that a policy or an encoder brings along may run: read it first"}
"""A key of every verb that loads a policy."""


class Verb(click.Command):
    """A command whose help says what it does, how it is called, which keys matter and where all keys are.

    Args:
        examples: command line after `residual-rl`, and what it does.
        keys: keys that matter most, and what each is for; none for a verb without `key=value`.
        log_format: of the lines on standard output.
        keeps_traces: a file that cannot be read or written is a defect, unless the words named it.
    """

    def __init__(
        self,
        *args: Any,
        examples: Mapping[str, str],
        keys: Mapping[str, str] | None = None,
        log_format: str = PLAIN,
        keeps_traces: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self.examples, self.keys, self.log_format = examples, keys or {}, log_format
        self.keeps_traces = keeps_traces

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        try:
            return super().parse_args(ctx, args)
        except click.UsageError as error:
            error.ctx = error.ctx or ctx  # click forgets it where an option lacks its value
            raise

    def invoke(self, ctx: click.Context) -> Any:
        set_up_logging(self.log_format)
        try:
            return super().invoke(ctx)
        except OSError as error:
            if error.filename is None or (self.keeps_traces and not _names(ctx, str(error.filename))):
                raise
            raise UsageError(f"{error.filename} cannot be used: {error.strerror}") from error

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        _table(formatter, "Examples", {f"{PROGRAM} {words}": text for words, text in self.examples.items()})
        if self.keys:
            _table(formatter, "Keys that matter", self.keys)
            formatter.write_paragraph()
            formatter.write_text(f"All keys, with defaults and meanings: {ALL_KEYS}")


def _names(ctx: click.Context, file: str) -> bool:
    """Whether a word or option is `file`, or a folder above it."""
    values = [
        word for value in ctx.params.values() for word in (value if isinstance(value, tuple) else (value,))
    ]
    named = [str(value).partition("=")[2] or str(value) for value in values if value]
    return any(Path(file).is_relative_to(path) for path in named)


class Verbs(click.Group):
    """A group that lists its verbs in the order in which they were added."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)


def _table(formatter: click.HelpFormatter, title: str, rows: Mapping[str, str]) -> None:
    with formatter.section(title):
        for words, text in rows.items():
            formatter.write(f"{'':{formatter.current_indent}}{words}\n")
            if text:
                formatter.indent()
                formatter.write_text(text)
                formatter.dedent()


class Words(click.ParamType):
    """`key=value` words, and names among them if `also` says what they name.

    Args:
        section: keys to complete: of run, train_base, demos or study.
        also: what a word without `=` is, such as RUN; None: it is an error.
    """

    name = "key=value"

    def __init__(self, section: str = "run", also: str | None = None) -> None:
        self._section, self._also = section, also

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        if self._also is None and not is_override(value):
            self.fail(f"{value!r} is no key=value", param, ctx)
        if self._also == "FILE" and not is_override(value):
            FilePath().convert(value, param, ctx)
        return _fetched(value, ctx) if is_override(value) else value

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        names = [*_runs(incomplete)] if self._also == "RUN" else []
        return [CompletionItem(word) for word in (*names, *_assignments(self._section, incomplete))]


class FilePath(click.Path):
    """The path of a file or folder. Raises click.BadParameter: it is empty, or a pipe that has a name.

    Nobody may ever write into such a pipe, and no file that a verb takes can be read from one."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(path_type=Path, **kwargs)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if not value:
            self.fail("the path is empty", param, ctx)
        value = os.path.expanduser(value)  # shells do not, in --out=~/here
        # What this process was given, such as /dev/stdin, is read to its end.
        if stat.S_ISFIFO(_mode(value)) and not str(value).startswith(("/dev/", "/proc/")):
            self.fail(f"{value} is a pipe, not a file or folder", param, ctx)
        return super().convert(value, param, ctx)


class SourcePath(FilePath):
    """As `FilePath`, of something to be read, which may lie elsewhere: a local copy takes its place."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        return super().convert(_fetched(value, ctx) if isinstance(value, str) else value, param, ctx)


class ResidualPath(SourcePath):
    """The checkpoint of a residual, here or elsewhere."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if isinstance(value, str) and is_elsewhere(value) and not _completes(ctx):
            return residual_in(local_copy(value), value)
        return super().convert(value, param, ctx)


def _fetched(text: str, ctx: click.Context | None) -> str:
    """`text` with folders in place of names such as hf:owner/name."""
    return text if _completes(ctx) else with_local_copies(text)


def _completes(ctx: click.Context | None) -> bool:
    """Whether a shell asks what may follow: nothing is fetched for that."""
    return ctx is not None and ctx.resilient_parsing


def _mode(path: str) -> int:
    try:
        return os.stat(path).st_mode
    except OSError:  # whoever uses it will say so
        return 0


class RunName(click.ParamType):
    """The name of a run under runs/, or a run's folder."""

    name = "run"

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        return [CompletionItem(name) for name in _runs(incomplete)]


def is_override(word: str) -> bool:
    """Whether a word sets, adds (+) or removes (~) a key. A path with a `/` before its `=` does not."""
    key, assigned, _ = word.partition("=")
    return "/" not in key and (bool(assigned) or word.startswith("~"))


def split_words(words: Iterable[str]) -> tuple[list[str], list[str]]:
    """(names, overrides), each in the order given."""
    names, overrides = [], []
    for word in words:
        (overrides if is_override(word) else names).append(word)
    return names, overrides


def single_name(names: list[str], what: str) -> str | None:
    """The name given, if there is one. Raises click.UsageError: there are several."""
    if len(names) > 1:
        raise click.UsageError(f"one {what} at most, got {' '.join(names)}", click.get_current_context())
    return names[0] if names else None


def overrides_argument(section: str = "run") -> Any:
    """The decorator for `[KEY=VALUE]...`."""
    return click.argument("overrides", nargs=-1, type=Words(section), metavar="[KEY=VALUE]...")


def words_argument(also: str, section: str = "run") -> Any:
    """The decorator for names and `key=value` in any order; `split_words` takes them apart."""
    return click.argument("words", nargs=-1, type=Words(section, also), metavar=f"[{also}] [KEY=VALUE]...")


def _runs(incomplete: str) -> list[str]:
    return sorted(path.parent.name for path in Path("runs").glob(f"{incomplete}*/launch.yaml"))


def _assignments(section: str, incomplete: str) -> list[str]:
    """What `incomplete` may become: `key=`, or, behind a group's `=`, the group's files."""
    configuration = configuration_of(section)
    name, assigned, value = incomplete.partition("=")
    if assigned:
        options = {group.name: group.options for group in configuration.groups}.get(name, ())
        return [f"{name}={option}" for option in options if option.startswith(value)]
    return [f"{key.name}=" for key in configuration.keys if key.name.startswith(incomplete)]
