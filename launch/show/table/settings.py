"""Which settings of a run differ from the defaults of this release."""

import copy
import functools
import json
from collections.abc import Iterator, Mapping
from typing import Any

from omegaconf import DictConfig, OmegaConf

from config.compose import CONFIG_DIR, compose_raw

# A run's own name and place, what its row has a column for, and what is no choice.
LEFT_OUT = (
    "name", "runs_dir", "resume", "seed", "task.name", "task.sizes", "algo.name",
    "wire.experience_port", "wire.weights_port",
)  # fmt: skip
# Keys of these sections appear in the defaults of others.
_FIRST = ("task", "base", "algo")


def differences(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Key -> value, where a run's launch.yaml or config.yaml is not what its task, base and algo have by
    default. A default that follows another key counts as that key has it. Keys that only one of the two
    releases knows are left out."""
    chosen = tuple(
        f"{group}={name}"
        for group, key in (("task", "name"), ("base", "type"), ("algo", "name"))
        if (name := _mapping(settings.get(group)).get(key)) in _options(group)
    )
    defaults = copy.deepcopy(_defaults(chosen))
    for key in ("name", "runs_dir"):
        if isinstance(settings.get(key), str):
            OmegaConf.update(defaults, key, settings[key])
    found: dict[str, Any] = {}
    ordered = sorted(_leaves(settings, defaults), key=lambda leaf: leaf[0].split(".")[0] not in _FIRST)
    for key, value in ordered:
        default = _plain(OmegaConf.select(defaults, key))
        if not _same(value, default):
            OmegaConf.update(defaults, key, value, merge=False)
            found[key] = value
    if "base=diffusion" not in chosen and (base := _mapping(settings.get("base")).get("type")):
        found = {"base": base} | found
    return {key: value for key, value in found.items() if key not in LEFT_OUT}


def as_words(found: Mapping[str, Any]) -> str:
    """As the command line takes them."""
    return " ".join(f"{key}={_word(value)}" for key, value in found.items())


@functools.cache
def _defaults(chosen: tuple[str, ...]) -> DictConfig:
    return compose_raw(CONFIG_DIR, chosen)


@functools.cache
def _options(group: str) -> frozenset[str]:
    return frozenset(path.stem for path in (CONFIG_DIR / group).glob("*.yaml"))


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _leaves(settings: Mapping[str, Any], defaults: DictConfig, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """(dotted key, value) of every key that both have."""
    for key, value in settings.items():
        if not isinstance(key, str) or key not in defaults:
            continue
        default = defaults._get_node(key)
        if isinstance(default, DictConfig) and isinstance(value, Mapping) and not default._is_interpolation():
            yield from _leaves(value, default, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _plain(value: Any) -> Any:
    return OmegaConf.to_container(value, resolve=True) if OmegaConf.is_config(value) else value


def _same(value: Any, default: Any) -> bool:
    """Whether they are equal; the place of a file that comes along counts from the project's folder too."""
    if isinstance(value, str) and isinstance(default, str) and "/" in value:
        return value == default or value.endswith(f"/{default}") or default.endswith(f"/{value}")
    return value == default


def _word(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))
