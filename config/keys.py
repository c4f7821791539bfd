"""Every key that can be set, with its default and meaning: read from the YAML files and their comments.

The comment behind a key is its meaning; comment lines below it, further to the right, go on with it. A
comment line at the left edge names the keys that follow. A file's first comment says what the file is for.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec
import yaml

CONFIG_DIR = Path(__file__).resolve().parent


@dataclass(frozen=True)
class Key:
    """One key: its dotted name, its default as the file has it, and what it means."""

    name: str
    default: str
    meaning: str
    heading: str = ""
    """Names the part of its file; empty: the file has no parts."""


@dataclass(frozen=True)
class KeyFile:
    """One YAML file; `path` is relative to config/."""

    path: str
    about: str
    keys: tuple[Key, ...]


@dataclass(frozen=True)
class Group:
    """Files of which one is chosen, such as task=stack_cube. Without a default, each file sets keys of other
    files, and none has to be chosen."""

    name: str
    default: str | None
    files: tuple[KeyFile, ...]

    @property
    def options(self) -> tuple[str, ...]:
        return tuple(Path(file.path).stem for file in self.files)

    @property
    def chosen(self) -> tuple[KeyFile, ...]:
        """The file of the default, if there is one."""
        return () if self.default is None else (self.files[self.options.index(self.default)],)

    @property
    def key(self) -> Key:
        null = ", or null" if self.default is None else ""
        return Key(self.name, self.default or "null", f"one of {', '.join(self.options)}{null}")


class _Composed(msgspec.Struct):
    """Of a file that may name others: its defaults list."""

    defaults: tuple[str | dict[str, str | None], ...] = ()


@dataclass(frozen=True)
class Configuration:
    """All files of one command."""

    files: tuple[KeyFile, ...]
    groups: tuple[Group, ...] = ()

    @property
    def keys(self) -> tuple[Key, ...]:
        """Groups first, then all keys with their defaults, each once."""
        files = (*self.files, *(file for group in self.groups for file in group.chosen))
        others = (file for group in self.groups for file in group.files)
        found = {group.name: group.key for group in self.groups}
        for file in (*files, *others):
            for key in file.keys:
                found.setdefault(key.name, key)
        return tuple(found.values())


def configuration_of(section: str) -> Configuration:
    """All files of `section`: run, or a folder or file of its own, such as train_base and study."""
    if section == "run":
        sections = [read_file(f"{name}.yaml", f"{name}.") for name in ("learner", "actor", "wire", "page")]
        return Configuration(
            (read_file("main.yaml"), *sections), _read_groups("main.yaml", "", prefixed=True)
        )
    if (CONFIG_DIR / section).is_dir():
        path = f"{section}/main.yaml"
        return Configuration((read_file(path),), _read_groups(path, f"{section}/", prefixed=False))
    return Configuration((read_file(f"{section}.yaml"),))


def read_file(path: str, prefix: str = "") -> KeyFile:
    """The keys of config/`path`, their names after `prefix`."""
    text = (CONFIG_DIR / path).read_text()
    root = yaml.SafeLoader(text).get_single_node()
    assert isinstance(root, yaml.MappingNode), f"{path} has no keys"
    lines = text.splitlines()
    return KeyFile(path, _about(lines), tuple(_keys(root, lines, prefix)))


def _read_groups(path: str, folder: str, prefixed: bool) -> tuple[Group, ...]:
    """Those of the defaults list of config/`path`; their keys begin with the group's name if `prefixed`."""
    composed = msgspec.convert(yaml.safe_load((CONFIG_DIR / path).read_text()), _Composed)
    chosen = [group for group in composed.defaults if not isinstance(group, str)]
    return tuple(
        _read_group(name, f"{folder}{name}", default, f"{name}." if prefixed else "")
        for group in chosen
        for name, default in group.items()
    )


def _read_group(name: str, folder: str, default: str | None, prefix: str) -> Group:
    """A key without a comment has the meaning of the default's file, else of the first file that says it."""
    paths = sorted((CONFIG_DIR / folder).glob("*.yaml"))
    group = Group(name, default, tuple(read_file(f"{folder}/{path.name}", prefix) for path in paths))
    known: dict[str, str] = {}
    for key in (key for file in (*group.chosen, *group.files) for key in file.keys if key.meaning):
        known.setdefault(key.name, key.meaning)
    files = (_with_meanings(file, known) for file in group.files)
    return replace(group, files=tuple(replace(file, keys=()) if default is None else file for file in files))


def _with_meanings(file: KeyFile, known: dict[str, str]) -> KeyFile:
    keys = (replace(key, meaning=key.meaning or known.get(key.name, "")) for key in file.keys)
    return replace(file, keys=tuple(keys))


def _keys(mapping: yaml.MappingNode, lines: Sequence[str], prefix: str) -> Iterator[Key]:
    """All keys below `mapping`, in the order of the file."""
    for name, value in mapping.value:
        dotted = f"{prefix}{name.value}"
        if dotted == "defaults":
            continue
        nested = isinstance(value, yaml.MappingNode) and not value.flow_style
        default = "" if nested else _default(value, lines)
        yield Key(dotted, default, _meaning(name, value, lines), _heading(name, lines))
        if nested:
            yield from _keys(value, lines, f"{dotted}.")


def _default(value: yaml.Node, lines: Sequence[str]) -> str:
    """As it is written; a list over several lines on one."""
    if isinstance(value, yaml.SequenceNode) and not value.flow_style:
        return f"[{', '.join(_default(item, lines) for item in value.value)}]"
    start, end = value.start_mark, value.end_mark
    return lines[start.line][start.column : end.column]


def _meaning(name: yaml.Node, value: yaml.Node, lines: Sequence[str]) -> str:
    """The comment behind a key, or those behind the items of its list."""
    if isinstance(value, yaml.SequenceNode) and not value.flow_style:
        return "; ".join(filter(None, (_comment(item.end_mark, name, lines) for item in value.value)))
    nested = isinstance(value, yaml.MappingNode) and not value.flow_style
    return _comment(name.end_mark if nested else value.end_mark, name, lines)


def _comment(after: yaml.Mark, name: yaml.Node, lines: Sequence[str]) -> str:
    """What is behind `after`, and on the comment lines below that are indented further than `name`."""
    found = [lines[after.line][after.column :].partition("#")[2].strip()]
    for line in lines[after.line + 1 :]:
        words = line.lstrip()
        if not words.startswith("#") or len(line) - len(words) <= name.start_mark.column:
            break
        found.append(words.lstrip("# "))
    return " ".join(filter(None, found))


def _heading(name: yaml.Node, lines: Sequence[str]) -> str:
    """The newest comment at the left edge above `name`, but not the file's first one."""
    above = lines[_start(lines) : name.start_mark.line]
    return next((line.strip("# ") for line in reversed(above) if line.startswith("#")), "")


def _about(lines: Sequence[str]) -> str:
    """The file's first comment, without Hydra's own words."""
    first = (line.strip("# ") for line in lines[: _start(lines)])
    return " ".join(line for line in first if not line.startswith("@"))


def _start(lines: Sequence[str]) -> int:
    """The number of the first line after the file's first comment."""
    return next((i for i, line in enumerate(lines) if not line.startswith("#")), len(lines))
