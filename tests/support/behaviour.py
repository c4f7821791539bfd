"""Behaviours that a learner could ask for."""

from typing import Any

import msgspec

from actor.policy.exploration import BASE_ALONE
from protocol.messages import Behaviour


def acting(mask_probability: float, **changes: Any) -> Behaviour:
    """A residual that acts with this probability, without noise; `changes` replace other fields."""
    return msgspec.structs.replace(BASE_ALONE, mask_probability=mask_probability, **changes)
