"""Code that a policy, a processor or an encoder brings along runs only where somebody said that it may.

LeRobot trusts such code unasked, in all that it loads with transformers, and makes a processor's steps of any
class that a file names.
"""

# pyright: reportMissingTypeStubs=false
# lerobot's own annotations leave type arguments open.

import importlib.util
import threading
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from typing import Any

from lerobot.processor.pipeline import DataProcessorPipeline, ProcessorStep

from actor.policy.contract import CheckpointError
from config.trust import is_trusted

_LOADING = threading.RLock()


@contextmanager
def guarded() -> Generator[None]:
    """What LeRobot loads meanwhile brings no code of its own: it raises CheckpointError, unless
    `config.trust` says that it may, or, of a processor's steps, ImportError. A decorator too."""
    with _LOADING, ExitStack() as opened:
        opened.enter_context(_replaced(DataProcessorPipeline, "_resolve_step_class", _checked()))
        if not is_trusted() and importlib.util.find_spec("transformers") is not None:
            modules = importlib.import_module("transformers.dynamic_module_utils")
            opened.enter_context(_replaced(modules, "get_cached_module_file", _refuse))
        yield


@contextmanager
def _replaced(owner: Any, name: str, value: object) -> Generator[None]:
    before = vars(owner)[name]  # a staticmethod, not the function in it
    setattr(owner, name, value)
    try:
        yield
    finally:
        setattr(owner, name, before)


def _checked() -> Any:
    """LeRobot's way to the class of a step, which must be one."""
    pipeline: Any = DataProcessorPipeline
    resolve = pipeline._resolve_step_class

    def resolve_step(entry: dict[str, Any]) -> tuple[type, str]:
        step, key = resolve(entry)
        if not (isinstance(step, type) and issubclass(step, ProcessorStep)):
            raise ImportError(f"{entry.get('class')} is no step of a processor")
        return step, key

    return staticmethod(resolve_step)


def _refuse(source: object, file: str, **_options: object) -> str:
    raise CheckpointError(
        f"{source} brings code of its own ({file}), which runs only if you say so: read it, then add "
        "trust_remote_code=true to the command"
    )
