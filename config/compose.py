"""The configuration of a process: composed from Hydra overrides, or read from the file of a launch."""

import argparse
import contextlib
import sys
import threading
from collections.abc import Callable, Generator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import yaml
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import InterpolationKeyError, OmegaConfBaseException

from config.algo import AlgoConfig
from config.asked import ask_simulator
from config.earlier import of_this_release, refuse_removed, refuse_removed_overrides
from config.files import replace_text
from config.layout import with_indices
from config.main import Config, Launch
from config.packages import config_folders
from config.process import (
    TIMED,
    StopRequest,
    end_on_interrupt,
    one_line,
    run_main,
    stop_on_signals,
    wants_help,
)
from config.section import ConfigError, require_finite, with_home
from config.trust import trusting
from config.words import key_of, quoted, read_words

CONFIG_DIR = Path(__file__).resolve().parent


def _shipped(path: str) -> str:
    """`path`, or the same in the project where only that exists: shipped bases are found from any folder."""
    there = CONFIG_DIR.parent / path
    return str(there) if there.exists() and not Path(path).exists() else path


OmegaConf.register_new_resolver("shipped", _shipped, replace=True)


class _AlgoKeys(msgspec.Struct):
    """Of a file: what is asked about removed keys before anything else."""

    algo: dict[str, Any]


def compose_config(overrides: Sequence[str]) -> Config:
    """What the processes of a run read: config/main.yaml with Hydra overrides, checked.
    Raises ConfigError: in one line, naming the key."""
    return compose_launch(overrides).run


def compose_recipe(overrides: Sequence[str]) -> AlgoConfig:
    """The recipe of a residual, config/algo with Hydra overrides, checked.
    Raises ConfigError: also where another kind of algorithm is chosen."""
    algo = compose_config(overrides).algo
    if not isinstance(algo, AlgoConfig):
        raise ConfigError(f"configuration: algo={algo.name} is no recipe of a residual: leave it out")
    return algo


def compose_launch(overrides: Sequence[str]) -> Launch:
    """All of config/main.yaml with Hydra overrides, checked. Raises ConfigError."""
    refuse_removed_overrides(overrides)
    return compose_section(CONFIG_DIR, overrides, Launch)


def compose_section[T](folder: Path, overrides: Sequence[str], kind: type[T]) -> T:
    """`folder`/main.yaml with Hydra overrides as a `kind`. Raises ConfigError."""
    if own := [word for word in overrides if key_of(word).startswith(("hydra.", "hydra/"))]:
        raise ConfigError(f"configuration: {own[0]}: Hydra's own keys have no effect here")
    words = [word.input_line or "" for word in read_words(overrides, kind)]
    try:
        raw = compose_raw(folder, words)
    except (HydraException, OmegaConfBaseException, ValueError) as error:
        # Hydra raises a plain ValueError where a group, such as algo, is given a number.
        raise ConfigError(f"configuration: {one_line(error)}") from error
    return convert_section(raw, kind)


def compose_raw(folder: Path, overrides: Sequence[str] = ()) -> DictConfig:
    """`folder`/main.yaml with Hydra overrides, unchecked; groups of installed packages are found too.
    Raises what Hydra raises, and ConfigError: two packages have the same file."""
    others = [quoted(f"file://{each}") for each in (config_folders() if folder == CONFIG_DIR else ())]
    found = [f"hydra.searchpath=[{','.join(others)}]"] if others else []
    with _own_hydra(), initialize_config_dir(str(folder), version_base=None):
        return compose("main", overrides=[*overrides, *found])


_COMPOSING = threading.RLock()


@contextlib.contextmanager
def _own_hydra() -> Generator[None]:
    """Hydra has one state for a whole process: threads compose one after the other, and the state of a
    program around this one, which may use Hydra too, is the same afterwards."""
    with _COMPOSING:
        around = GlobalHydra.instance().hydra
        GlobalHydra.instance().clear()
        try:
            yield
        finally:
            GlobalHydra.instance().hydra = around


def convert_section[T](raw: DictConfig, kind: type[T]) -> T:
    """Check what Hydra composed; names of parts of the observation become indices.
    Raises ConfigError: unknown, missing or unsuitable key, named with its place. UsageError: a simulator that
    is asked for names says that no run can play the task."""
    try:
        plain = with_home(OmegaConf.to_container(raw, resolve=True, throw_on_missing=True))
        require_finite(plain)
        return msgspec.convert(_with_indices(plain), kind, strict=True)
    except InterpolationKeyError as error:
        key = str(error.full_key)
        section = key.partition(".")[0] if "." in key else "main"
        raise ConfigError(
            f"configuration: {key} (config/{section}) refers to a key that does not exist: "
            f"{str(error).splitlines()[0]}"
        ) from error
    except (msgspec.ValidationError, OmegaConfBaseException, ValueError) as error:
        raise ConfigError(f"configuration: {one_line(error)}") from error


def _with_indices(plain: Any) -> Any:
    """With indices for names of parts. Raises as `with_indices` and `ask_simulator`."""
    return with_indices(plain, lambda task: ask_simulator(task).layout)


def config_text(config: Config) -> str:
    """A configuration as YAML."""
    return yaml.safe_dump(msgspec.to_builtins(config), sort_keys=False)


def write_config(path: Path, config: Config) -> None:
    """Write what `read_config` reads."""
    replace_text(path, config_text(config))


def read_config(path: Path, overrides: Sequence[str] = ()) -> Config:
    """A configuration that `write_config` wrote, checked again, with single keys (a.b=value) set anew.
    Raises ConfigError: no such file, not a configuration of this release, or a word that sets no single key;
    in one line, naming the key."""
    try:
        # YAML raises a plain ValueError for a date or number that is none.
        plain = yaml.safe_load(path.read_text())
        keys = msgspec.convert(plain, _AlgoKeys)
    except (OSError, ValueError, RecursionError, yaml.YAMLError, msgspec.ValidationError) as error:
        raise ConfigError(f"configuration {path}: {one_line(error)}") from error
    refuse_removed(keys.algo)
    plain = of_this_release(plain, keys.algo)
    for override in read_words(overrides, Config):
        _set(plain, override)
    try:
        require_finite(plain)
        return msgspec.convert(_with_indices(plain), Config, strict=True)
    except (msgspec.ValidationError, ValueError) as error:
        raise ConfigError(f"configuration {path}: {one_line(error)}") from error


def _set(plain: dict[str, Any], override: Override) -> None:
    """Set one key in what a file holds. Raises ConfigError: the word chooses a file, or removes a key."""
    *sections, key = override.key_or_group.split(".")
    for section in sections:
        inner: dict[str, Any] | None = plain.get(section)
        plain[section] = plain = inner if isinstance(inner, dict) else {}
    if override.is_delete() or (isinstance(plain.get(key), dict) and isinstance(override.value(), str)):
        raise ConfigError(
            f"configuration: {override.input_line}: a run keeps its {override.key_or_group}: give "
            "single keys, such as task.max_episode_steps=200, or no run"
        )
    plain[key] = with_home(override.value())


def asked_config(argv: Sequence[str]) -> Config:
    """What a process of a run is started with: `--config FILE [--index N]`, or Hydra overrides.
    Raises ConfigError: in one line, naming the key."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    parser.add_argument("--config", type=Path)
    parser.add_argument("--index", type=int)
    parser.add_argument("overrides", nargs="*")
    try:
        asked, unknown = parser.parse_known_args(argv)
    except argparse.ArgumentError as error:
        raise ConfigError(f"command line: {error}") from error
    if unknown:
        raise ConfigError(f"command line: {unknown[0]} is no option: give --config FILE, or key=value")
    if asked.config is None and asked.index is None:
        return compose_config(asked.overrides)
    if asked.config is None or asked.overrides:
        raise ConfigError("command line: give --config FILE [--index N], or key=value, not both")
    config = read_config(asked.config)
    if asked.index is None:
        return config
    if asked.index < 0:
        raise ConfigError(f"command line: --index must be at least 0, got {asked.index}")
    return msgspec.structs.replace(config, actor=msgspec.structs.replace(config.actor, index=asked.index))


def show_help(description: str) -> int:
    """Print what a script does and every key's default; returns the exit code."""
    how = "Defaults, any of which can be set with key=value (what each means: the files in config/):"
    sys.stdout.write(f"{description}\n{how}\n{OmegaConf.to_yaml(compose_raw(CONFIG_DIR))}")
    return 0


Run = Callable[[Config, StopRequest], None]


def run_configured(description: str, load: Callable[[], Run]) -> None:
    """The entry point of a process of a run: its configuration from the command line, stopped by signals.
    `load` imports what runs: it takes seconds, and a wrong word is refused before."""

    def main(argv: list[str]) -> int:
        if wants_help(argv):
            return show_help(description)
        config = asked_config(argv)
        end_on_interrupt()
        run = load()
        with trusting(config.trust_remote_code):
            run(config, stop_on_signals())
        return 0

    run_main(main, log_format=TIMED)
