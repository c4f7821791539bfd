"""The layout of an observation, its parts by name, and keys of the configuration that name them."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple, cast

import msgspec

from config.relation import AXIS, POSE, POSITION
from config.spaces import known_spaces
from config.task import TaskConfig

Layout = Mapping[str, int]
"""Dimensions of each part of an observation by its name, such as extra.tcp_pose, in their order."""
Ask = Callable[[TaskConfig], Layout]
_Read = Callable[[list[Any], Layout], list[Any]]


class Part(NamedTuple):
    """Dimensions `start` to `end` - 1 of an observation."""

    name: str
    start: int
    end: int

    def __str__(self) -> str:
        return f"{self.name} [{self.start}, {self.end})"


def parts_of(layout: Layout) -> Iterator[Part]:
    """The parts in their order."""
    start = 0
    for name, length in layout.items():
        yield Part(name, start, start + length)
        start += length


def find_part(name: str, layout: Layout) -> Part | None:
    """The part of this name, or the only one whose last word it is: `tcp_pose` for `extra.tcp_pose`."""
    name = name.replace("/", ".")
    parts = [(part.name.replace("/", "."), part) for part in parts_of(layout)]
    exact = [part for whole, part in parts if whole == name]
    found = exact or [part for whole, part in parts if whole.endswith(f".{name}")]
    return found[0] if len(found) == 1 else None


def find_index(name: str, length: int, layout: Layout) -> int:
    """Where `length` dimensions begin: at a part, or, as `observation.3`, at a dimension within it.
    Raises ValueError: no part of this name, or it is too short; says which there are."""
    part, offset = find_part(name, layout), 0
    outer, _, last = name.rpartition(".")
    if part is None and last.isdecimal():
        part, offset = find_part(outer, layout), int(last)
    if part is None:
        raise _no_part(name, layout)
    if part.start + offset + length > part.end:
        raise ValueError(f"{name} has fewer than {length} dimensions within {part}")
    return part.start + offset


def _no_part(name: str, layout: Layout) -> ValueError:
    return ValueError(f"{name} is no part of the observation: {', '.join(map(str, parts_of(layout)))}")


def name_of(index: int, layout: Layout) -> str:
    """What `find_index` finds, for an index within the observation."""
    part = next(part for part in parts_of(layout) if index < part.end)
    return part.name if index == part.start else f"{part.name}.{index - part.start}"


def with_indices(plain: dict[str, Any], ask: Ask | None) -> dict[str, Any]:
    """A configuration, not yet checked, with indices for the names in `relations` and `proprioception` of
    task and algo.

    Args:
        ask: for the layout of a task that config/spaces.yaml does not know; None: its names stay.

    Raises ValueError: a name that is no part of the observation, or a task that cannot be asked about; what
    `ask` raises.
    """
    for key, read in _READ.items():
        task, algo = _section(plain.get("task")), _section(plain.get("algo"))
        if not isinstance(task.get(key), dict):
            continue
        played = task.get("env_id")
        of_tasks: dict[str, Any] = {}
        for env_id, given in _section(task[key]).items():
            if _names_parts(given):
                layout = _layout(plain, env_id, ask if env_id == played else None)
                if layout is None and env_id != played:
                    continue  # not played: nobody needs it
                given = _numbered(read, given, layout, f"task.{key}.{env_id}")
            of_tasks[env_id] = given
        plain = plain | {"task": task | {key: of_tasks}}
        if _names_parts(algo.get(key)):
            layout = _layout(plain, played, ask)
            plain["algo"] = algo | {key: _numbered(read, algo[key], layout, f"algo.{key}")}
    return plain


class _Asked(msgspec.Struct):
    """Of a configuration: what a simulator is asked about."""

    task: TaskConfig


def _layout(plain: dict[str, Any], env_id: Any, ask: Ask | None) -> Layout | None:
    known = known_spaces(str(env_id), str(plain["task"].get("control_mode"))).layout
    if known is not None or ask is None:
        return known
    nameless = plain["task"] | {key: {} for key in _READ}
    return ask(msgspec.convert(plain | {"task": nameless}, _Asked).task)


def _section(value: Any) -> dict[str, Any]:
    """What is none is left to the check of all keys."""
    return cast(dict[str, Any], value) if isinstance(value, dict) else {}


def _names_parts(items: Any) -> bool:
    given = cast(list[Any], items) if isinstance(items, list) else []
    values = (value for each in given for value in (each, *_section(each).values()))
    return any(isinstance(value, str) and value != AXIS for value in values)


def _numbered(read: _Read, items: list[Any], layout: Layout | None, key: str) -> list[Any]:
    if layout is None:
        return items
    try:
        return read(items, layout)
    except ValueError as error:
        raise ValueError(f"{key}: {error}") from error


def _relations(items: list[Any], layout: Layout) -> list[Any]:
    return [_relation(_section(each), layout) if isinstance(each, dict) else each for each in items]


def _relation(relation: dict[str, Any], layout: Layout) -> dict[str, Any]:
    lengths = {
        "point": POSITION if relation.get("tip") is None else POSE,
        "tip": 1,
        "origin": POSE if relation.get("turned") else POSITION,
    }
    if relation.get("tip") == AXIS:
        del lengths["tip"]  # a word, not a name
    named = {key: value for key, value in relation.items() if key in lengths and isinstance(value, str)}
    return relation | {key: find_index(name, lengths[key], layout) for key, name in named.items()}


def _ranges(items: list[Any], layout: Layout) -> list[Any]:
    return [_range(each, layout) if isinstance(each, str) else each for each in items]


def _range(name: str, layout: Layout) -> list[int]:
    part = find_part(name, layout)
    if part is None:
        raise _no_part(name, layout)
    return [part.start, part.end]


# Keys of task and algo that may have names of parts, and what has indices for these.
_READ: dict[str, _Read] = {"relations": _relations, "proprioception": _ranges}
