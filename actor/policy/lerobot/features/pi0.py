"""pi0 and pi0.5: the mean of their prefix, see `prefix.py`."""

from contextlib import AbstractContextManager
from typing import Any

from actor.policy.lerobot.features import prefix
from actor.policy.lerobot.features.contract import Keep


def watched(policy: Any, keep: Keep) -> AbstractContextManager[None]:
    return prefix.watched(policy.model, policy.model.paligemma_with_expert, keep)
