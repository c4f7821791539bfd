"""The base class of all configuration sections: typed, frozen, and no key may be missing."""

import math
import os
import re
from typing import Any, cast

import msgspec

from config.process import UsageError


class ConfigError(UsageError):
    """A configuration that cannot be used; the message names the key."""


class Section(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A part of the configuration: an unknown or missing key is an error that names it."""

    def require(self, holds: bool, key: str, rule: str) -> None:
        """Raise ValueError `key must be rule, got value` unless `holds`."""
        if not holds:
            raise ValueError(f"{key} must be {rule}, got {getattr(self, key)!r}")

    def at_least(self, smallest: float, *keys: str) -> None:
        """Raise ValueError for the first of `keys` below `smallest`."""
        for key in keys:
            self.require(getattr(self, key) >= smallest, key, f"at least {smallest}")

    def filled(self, *keys: str) -> None:
        """Raise ValueError for the first of `keys` that is empty, or has an empty item; null is not empty."""
        for key in keys:
            value = getattr(self, key)
            self.require(value is None or (len(value) > 0 and all(value)), key, "given, not empty")

    def plain_names(self, *keys: str) -> None:
        """Raise ValueError for the first of `keys` that is no plain name of a folder; null is allowed."""
        for key in keys:
            value = getattr(self, key)
            plain = value is None or re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", value) is not None
            self.require(plain, key, "letters, digits and . _ - alone")

    def positive(self, *keys: str) -> None:
        """Raise ValueError for the first of `keys` that is not above zero, or a list of such numbers."""
        for key in keys:
            value = getattr(self, key)
            numbers = cast(tuple[float, ...], value if isinstance(value, tuple) else (value,))
            self.require(min(numbers, default=0) > 0, key, "above 0")


def with_home(plain: Any) -> Any:
    """`plain`, a tree of dicts and lists, with the home folder for ~ at the start of a text: shells do not
    replace it behind the = of a key."""
    if isinstance(plain, dict):
        return {key: with_home(value) for key, value in cast(dict[str, Any], plain).items()}
    if isinstance(plain, list):
        return [with_home(value) for value in cast(list[Any], plain)]
    return os.path.expanduser(plain) if isinstance(plain, str) else plain


def require_finite(plain: Any, name: str = "") -> None:
    """Raise ValueError for a number in `plain`, a tree of dicts and lists, that is infinite or NaN."""
    if isinstance(plain, dict):
        for key, value in cast(dict[str, Any], plain).items():
            require_finite(value, f"{name}.{key}".lstrip("."))
    elif isinstance(plain, list):
        for place, value in enumerate(cast(list[Any], plain)):
            require_finite(value, f"{name}[{place}]")
    elif isinstance(plain, float) and not math.isfinite(plain):
        raise ValueError(f"{name} must be a finite number, got {plain}")
