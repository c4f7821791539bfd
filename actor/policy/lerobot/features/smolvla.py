"""SmolVLA: the mean of its prefix, see `prefix.py`."""

from contextlib import AbstractContextManager
from typing import Any

from actor.policy.lerobot.features import prefix
from actor.policy.lerobot.features.contract import Keep


def watched(policy: Any, keep: Keep) -> AbstractContextManager[None]:
    return prefix.watched(policy.model, policy.model.vlm_with_expert, keep)
