"""What the files of tasks say, ours and those of packages: found by a task's id or the file's name."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from config.compose import CONFIG_DIR, compose_raw
from config.packages import config_folders
from config.task import SCALED

EXPERT_FILE = "expert.h5"
"""Demonstrations of a scripted expert."""


def task_file(env_id: str) -> str | None:
    """The name of the file that describes this task, as in task=<name>, if there is one."""
    return next((path.stem for path, _ in _files_of(env_id)), None)


def _files() -> Iterator[tuple[Path, Any]]:
    """Paths and contents; ours first."""
    for folder in (CONFIG_DIR, *config_folders()):
        for path in sorted((folder / "task").glob("*.yaml")):
            yield path, OmegaConf.load(path)


def _files_of(env_id: str) -> Iterator[tuple[Path, Any]]:
    return ((path, content) for path, content in _files() if content.get("env_id") == env_id)


def key_of_task(env_id: str, key: str, otherwise: str) -> str:
    """What the file of a task says; in YAML `${key_of_task:<env_id>,<key>,<otherwise>}`."""
    return next((str(_value(path, content, key)) for path, content in _files_of(env_id)), otherwise)


def _value(path: Path, content: Any, key: str) -> Any:
    """Of a key that the file may have from another one, which its defaults list names."""
    whole = content if key in content else compose_raw(CONFIG_DIR, [f"task={path.stem}"]).task
    return OmegaConf.select(whole, key)


def _demos_file(control_mode: str) -> str:
    """What `residual-rl demos` calls its file; in YAML `${demos_file:<control_mode>}`."""
    return EXPERT_FILE if control_mode == SCALED else f"planned.state.{control_mode}.physx_cpu.h5"


OmegaConf.register_new_resolver("key_of_task", key_of_task, replace=True)
OmegaConf.register_new_resolver("demos_file", _demos_file, replace=True)


def with_env_id(overrides: Sequence[str]) -> list[str]:
    """Overrides with `task=<its env_id>` for `task=<file of a task>`: where `task` is an id."""
    named = {f"task={path.stem}": (path, content) for path, content in _files()}
    return [f"task={_value(*named[word], 'env_id')}" if word in named else word for word in overrides]
