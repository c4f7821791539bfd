"""What the files of config/task say, found by a task's id or by the file's name."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from config.task import SCALED

_FOLDER = Path(__file__).parent / "task"
EXPERT_FILE = "expert.h5"
"""Demonstrations of a scripted expert."""


def task_file(env_id: str) -> str | None:
    """The name of the file in config/task that describes this task, if there is one."""
    return next((path.stem for path, content in _files() if content.get("env_id") == env_id), None)


def _files() -> Iterator[tuple[Path, Any]]:
    for path in sorted(_FOLDER.glob("*.yaml")):
        yield path, OmegaConf.load(path)


def key_of_task(env_id: str, key: str, otherwise: str) -> str:
    """What the file of a task says; in YAML `${key_of_task:<env_id>,<key>,<otherwise>}`."""
    found = task_file(env_id)
    if found is None:
        return otherwise
    return str(OmegaConf.select(OmegaConf.load(_FOLDER / f"{found}.yaml"), key))


def _demos_file(control_mode: str) -> str:
    """What `residual-rl demos` calls its file; in YAML `${demos_file:<control_mode>}`."""
    return EXPERT_FILE if control_mode == SCALED else f"planned.state.{control_mode}.physx_cpu.h5"


OmegaConf.register_new_resolver("key_of_task", key_of_task, replace=True)
OmegaConf.register_new_resolver("demos_file", _demos_file, replace=True)


def with_env_id(overrides: Sequence[str]) -> list[str]:
    """Overrides with `task=<its env_id>` for `task=<file of config/task>`: where `task` is an id."""
    named = {f"task={path.stem}": f"task={content['env_id']}" for path, content in _files()}
    return [named.get(word, word) for word in overrides]
