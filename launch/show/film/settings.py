"""The configuration of a run to be filmed, which may be of another release."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import yaml
from omegaconf import DictConfig, OmegaConf

from config.compose import CONFIG_DIR, compose_raw, convert_section
from config.main import Config, Launch
from config.section import ConfigError
from config.trust import UNTRUSTED
from launch.run.trained import config_of_run
from launch.show.settings import chosen_files

log = logging.getLogger("film")


def config_of_film(run_dir: Path, overrides: Sequence[str]) -> Config:
    """As `known_config`, with episodes that end where the simulator says so: a film shows the truth."""
    config = known_config(run_dir, overrides)
    return msgspec.structs.replace(config, task=msgspec.structs.replace(config.task, success="simulator"))


def known_config(run_dir: Path, overrides: Sequence[str]) -> Config:
    """The run's configuration with some keys set anew. Where it is of another release, keys that this one
    does not know are left out, which is said, and keys that it lacks are as by default.
    Raises UsageError: no such run, or a configuration that cannot be used."""
    try:
        return config_of_run(f"{run_dir}", overrides)
    except ConfigError:
        plain = _read(run_dir)
        if not isinstance(plain, Mapping):
            raise
    try:
        config, left_out = adapted(plain, overrides)
    except ConfigError as error:
        raise ConfigError(f"{run_dir}: {error}; name another value after the run: key=value") from error
    if left_out:
        log.info("%s is of another release; left out: %s", run_dir, ", ".join(left_out))
    return config


def adapted(plain: Mapping[str, Any], overrides: Sequence[str]) -> tuple[Config, list[str]]:
    """A configuration of another release as this one has it, and the keys that have no place in it."""
    chosen = [f"{group}={name}" for group, name in chosen_files(plain).items()]
    composed = compose_raw(CONFIG_DIR, chosen)
    left_out = list(_overlay(composed, plain))
    changed = OmegaConf.merge(composed, OmegaConf.from_dotlist([UNTRUSTED, *overrides]))
    assert isinstance(changed, DictConfig)
    return convert_section(changed, Launch).run, left_out


def _read(run_dir: Path) -> Any:
    for name in ("config.yaml", "launch.yaml"):
        if (run_dir / name).is_file():
            try:
                return yaml.safe_load((run_dir / name).read_text())
            except (ValueError, RecursionError, yaml.YAMLError):
                return None
    return None


def _overlay(composed: DictConfig, plain: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    """Set what both have; yields the names of what `composed` lacks."""
    for key, value in plain.items():
        if key not in composed:
            yield f"{prefix}{key}"
        elif isinstance(value, Mapping) and isinstance(composed._get_node(key), DictConfig):
            yield from _overlay(composed[key], value, f"{prefix}{key}.")
        else:
            OmegaConf.update(composed, str(key), value, merge=False)
