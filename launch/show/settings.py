"""The settings of a run that differ from the defaults, and the words that start such a run again."""

import contextlib
import copy
import functools
import json
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import yaml
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from config.compose import CONFIG_DIR, compose_raw
from config.layout import with_indices
from config.packages import names_in

# Which run it is, not how it is set.
_NAMES = ("name", "resume")
# Maps with keys of the user's own.
_OPEN = ("task.relations.", "task.proprioception.")
# Keys of these sections appear in the defaults of others.
_FIRST = ("name", "task", "base", "algo")
# Group -> the key of the configuration that has the name of the group's file.
_GROUPS = {"task": "name", "base": "type", "algo": "name"}


@dataclass(frozen=True)
class Changed:
    """A setting that is not the default."""

    key: str
    value: Any
    default: Any
    known: bool = True
    """Whether this release has such a key."""

    @property
    def word(self) -> str:
        """As it is given on the command line."""
        return f"{'+' if self.key.startswith(_OPEN) else ''}{self.key}={hydra_value(self.value)}"


def read_settings(run_dir: Path) -> dict[str, Any]:
    """The configuration that the learner used, or that it was started with; empty where there is none that
    can be read. Unchecked: it may be of another release."""
    for name in ("config.yaml", "launch.yaml"):
        with contextlib.suppress(OSError, ValueError, RecursionError, yaml.YAMLError):
            settings = yaml.safe_load((run_dir / name).read_text())
            if isinstance(settings, dict):
                return settings
    return {}


def changed_settings(settings: Mapping[str, Any]) -> list[Changed]:
    """What differs from the defaults: first the files that were chosen (task=stack_cube), then keys."""
    chosen = chosen_files(settings)
    standard = OmegaConf.to_container(_composed())
    assert isinstance(standard, dict)
    usual = {group: standard[group][_GROUPS[group]] for group in chosen}
    groups = [Changed(group, name, usual[group]) for group, name in chosen.items() if name != usual[group]]

    defaults = copy.deepcopy(_composed(*(f"{group}={name}" for group, name in chosen.items())))
    differing = list(_differences(OmegaConf.to_container(defaults), settings))
    own = set[str]()
    for each in sorted(differing, key=lambda each: each.key.split(".")[0] not in _FIRST):
        if each.key in _NAMES or not each.known or not _is_default(defaults, each):
            own.add(each.key)
            # What a default refers to, such as ${learner.device}, is as this run has it.
            with contextlib.suppress(OmegaConfBaseException):  # a date, in a damaged file
                OmegaConf.update(defaults, each.key, each.value, merge=False, force_add=True)
    return groups + [each for each in differing if each.key in own and each.key not in _NAMES]


@functools.cache
def _composed(*overrides: str) -> DictConfig:
    """The defaults, composed once: Hydra needs half a second. Names of parts are indices, as in runs."""
    plain = cast(dict[str, Any], OmegaConf.to_container(compose_raw(CONFIG_DIR, overrides)))
    return OmegaConf.create(with_indices(plain, ask=None))


def run_words(changed: Sequence[Changed]) -> list[str]:
    """`key=value` words that set these, quoted for a shell."""
    return [shlex.quote(each.word) for each in changed if each.known]


def hydra_value(value: Any) -> str:
    """A value as Hydra reads it: as JSON, but for the keys of maps, which it wants without quotes."""
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{key}:{hydra_value(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ",".join(map(hydra_value, value)) + "]"
    if isinstance(value, str) and value and not set(value) & set(" ,:='\"[]{}()$\\"):
        return value
    return json.dumps(value, ensure_ascii=False, default=str)


def chosen_files(settings: Mapping[str, Any]) -> dict[str, str]:
    """Of each group (task, base, algo) the file that the settings come from, if this release has it."""
    chosen = dict[str, str]()
    for group, key in _GROUPS.items():
        section = settings.get(group)
        name = section.get(key) if isinstance(section, Mapping) else None
        if isinstance(name, str) and name in names_in(group):
            chosen[group] = name
    return chosen


def _is_default(defaults: DictConfig, each: Changed) -> bool:
    """Whether the value is what the default refers to."""
    try:
        default = OmegaConf.select(defaults, each.key)
        plain = OmegaConf.to_container(default, resolve=True) if OmegaConf.is_config(default) else default
    except OmegaConfBaseException:  # what it refers to has a value of another kind
        return False
    return _comparable(plain) == _comparable(each.value)


def _differences(default: Any, actual: Any, prefix: str = "") -> Iterator[Changed]:
    """Keys of `actual` that `default` lacks or has another value for."""
    for key, value in actual.items():
        name = f"{prefix}{key}"
        if key not in default:
            yield Changed(name, value, None, known=name.startswith(_OPEN))
        elif isinstance(value, Mapping) and isinstance(default[key], Mapping):
            yield from _differences(default[key], value, f"{name}.")
        elif _comparable(value) != _comparable(default[key]):
            yield Changed(name, value, default[key])


def _comparable(value: Any) -> Any:
    """Tuples as lists; a shipped base is the same wherever the project lies."""
    if isinstance(value, str) and "bases/" in value:
        return value[value.rfind("bases/") :]
    return [_comparable(each) for each in value] if isinstance(value, list | tuple) else value
