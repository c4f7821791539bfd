"""Behaviours that a learner could ask for."""

from typing import Any

import msgspec

from protocol.messages import BASE_ALONE, Behaviour


def residual_acts(mask_probability: float, **changes: Any) -> Behaviour:
    """A residual that acts with this probability, without noise; `changes` replace other fields."""
    return msgspec.structs.replace(BASE_ALONE, mask_probability=mask_probability, **changes)
