"""Words `key=value` of a command line, read by Hydra's rules, except that text is text.

Hydra reads name=1e3 as a number, and a=b or a file with an umlaut as an error. Here the value of a key whose
type is text is what stands behind `=`. Quotes around all of it are taken off, ${key} refers to another key,
and null is null where the type allows it.
"""

import contextlib
import re
import shlex
from collections.abc import Iterator, Sequence
from functools import cache
from itertools import compress
from operator import not_
from typing import NamedTuple

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, Quote, QuotedString
from hydra.errors import HydraException
from msgspec import inspect

from config.process import one_line
from config.section import ConfigError, Section

# An item of a list with what ends it. A quote begins a quoted item only where the item begins.
_ITEM = re.compile(
    r"""\s*('(?:\\.|[^'\\])*'|"(?:\\.|[^"\\])*"|(?:\$\{[^{}]*\}|[^,])*?)\s*(?:,|$)""", re.DOTALL
)
# What is neither structure nor quoted in a list or map.
_LEAF = re.compile(r"""'[^']*'|"[^"]*"|[^\[\]{},:'"\s](?:[^\[\]{},:'"]*[^\[\]{},:'"\s])?""")


class Text(NamedTuple):
    """A key that is text."""

    many: bool
    """It may be a list."""
    null: bool


def read_words(words: Sequence[str], kind: type) -> list[Override]:
    """What Hydra makes of `words` for a configuration of type `kind`.
    Raises ConfigError: a word that cannot be read; names it, and how to write it if that is known."""
    return [_read(word, hydra_word(word, kind)) for word in words]


def key_of(word: str) -> str:
    """The key or group that a word sets, adds or removes."""
    return word.lstrip("+~").partition("=")[0]


def split_by_section(words: Sequence[str], kind: type[Section]) -> tuple[list[str], list[str]]:
    """(words of the keys of `kind`, all others), each in the order given."""
    own = [key_of(word) in kind.__struct_fields__ for word in words]
    return [*compress(words, own)], [*compress(words, map(not_, own))]


def hydra_word(word: str, kind: type) -> str:
    """`word`, with text in quotes of Hydra."""
    given, assigned, value = word.partition("=")
    text = texts_of(kind).get(given.lstrip("+"))
    if not assigned or text is None:
        return word
    match read_text(value, text):
        case None:
            return word
        case str(one):
            return f"{given}={quoted(one)}"
        case several:
            return f"{given}=[{','.join(map(quoted, several))}]"


def quoted(text: str) -> str:
    """`text` in quotes of Hydra."""
    return QuotedString(text, Quote.single).with_quotes()


def read_text(value: str, text: Text) -> str | list[str] | None:
    """What stands behind `=`, for a key that is text."""
    if text.null and value == "null":
        return None
    if text.many and value.startswith("[") and value.endswith("]"):
        inside = value[1:-1].strip()
        # The last match is the empty one behind the last item.
        return [_unquoted(item) for item in _ITEM.findall(inside)[:-1]] if inside else []
    return _unquoted(value)


@cache
def texts_of(kind: type) -> dict[str, Text]:
    """The keys of a configuration of type `kind` that are text, by their dotted names."""
    return dict(_texts(inspect.type_info(kind), ""))


def _texts(kind: inspect.Type, name: str) -> Iterator[tuple[str, Text]]:
    parts = kind.types if isinstance(kind, inspect.UnionType) else (kind,)
    for part in parts:
        if isinstance(part, inspect.StructType):
            for field in part.fields:
                yield from _texts(field.type, f"{name}.{field.name}" if name else field.name)
    lists = [isinstance(part, inspect.VarTupleType) and _is_text(part.item_type) for part in parts]
    nulls = [isinstance(part, inspect.NoneType) for part in parts]
    single = [_is_text(part) for part in parts]
    if any(single + lists) and all(map(any, zip(single, lists, nulls, strict=True))):
        yield name, Text(many=any(lists), null=any(nulls))


def _is_text(kind: inspect.Type) -> bool:
    if isinstance(kind, inspect.LiteralType):
        return all(isinstance(value, str) for value in kind.values)
    return isinstance(kind, inspect.StrType)


def _unquoted(value: str) -> str:
    """Without quotes around all of it, and without Hydra's backslashes."""
    if value.startswith(("'", '"')) or "\\" in value:
        with contextlib.suppress(HydraException):
            read = OverridesParser.create().parse_override(f"key={value}")
            if not read.is_sweep_override() and isinstance(inner := read.value(), str):
                return inner
    return value


def _read(word: str, for_hydra: str) -> Override:
    shown = " ".join(word.split())
    try:
        word.encode()
        read = OverridesParser.create().parse_override(for_hydra)
    except UnicodeEncodeError:
        raise ConfigError(f"configuration: {word!a} is not UTF-8") from None
    # Python refuses numbers of thousands of digits with a plain ValueError.
    except (HydraException, ValueError) as error:
        advice = _advice(word)
        raise ConfigError(f"configuration: {shown} cannot be read: {advice or one_line(error)}") from error
    if read.is_sweep_override():
        raise ConfigError(f"configuration: {shown} cannot be read: give one value, or a list in brackets")
    return read


def _advice(word: str) -> str | None:
    """The word as the shell and Hydra take it, with quotes around whatever needs them; None: unknown."""
    key, _, value = word.partition("=")
    if not re.fullmatch(r"[+~]*[\w.@/]+", key, re.ASCII):
        return f"{key!r} is no name of a key; a value with spaces is one word of the shell in quotes"
    better = f"{key}={_LEAF.sub(lambda leaf: _readable(leaf[0]), value)}"
    with contextlib.suppress(HydraException, ValueError):
        OverridesParser.create().parse_override(better)
        return f"give it as {shlex.quote(better)}"
    return None


def _readable(leaf: str) -> str:
    try:
        OverridesParser.create().parse_override(f"key={leaf}")
    except (HydraException, ValueError):
        return QuotedString(leaf, Quote.double).with_quotes()
    return leaf
