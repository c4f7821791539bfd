"""Code that a policy, a processor or an encoder brings along runs only where somebody said that it may.

LeRobot trusts such code unasked, in all that it loads with transformers, and makes a processor's steps of any
class that a file names.
"""

# pyright: reportMissingTypeStubs=false
# lerobot's own annotations leave type arguments open.

import importlib.util
import os
from functools import cache
from typing import Any

from lerobot.processor.pipeline import DataProcessorPipeline, ProcessorStep

from actor.policy.contract import CheckpointError

TRUST = "RESIDUAL_RL_TRUST_REMOTE_CODE"
"""Variable of the environment: a host's own word, which no file and no other host can say."""


@cache
def refuse_foreign_code() -> None:
    """Before LeRobot loads anything: from here on this process refuses such code with CheckpointError, or,
    of a processor's steps, with ImportError."""
    pipeline: Any = DataProcessorPipeline
    resolve = pipeline._resolve_step_class

    def resolve_step(entry: dict[str, Any]) -> tuple[type, str]:
        step, key = resolve(entry)
        if not (isinstance(step, type) and issubclass(step, ProcessorStep)):
            raise ImportError(f"{entry.get('class')} is no step of a processor")
        return step, key

    pipeline._resolve_step_class = staticmethod(resolve_step)
    if os.environ.get(TRUST) != "true" and importlib.util.find_spec("transformers") is not None:
        modules: Any = importlib.import_module("transformers.dynamic_module_utils")
        modules.get_cached_module_file = _refuse


def _refuse(source: object, file: str, **_options: object) -> str:
    raise CheckpointError(
        f"{source} brings code of its own ({file}), which runs only if you say so: read it, then set "
        f"{TRUST}=true in the environment"
    )
