"""Adopts the newest weights, between decisions."""

import logging

import torch

from actor.link.uplink import Uplink
from actor.policy.decorated import DecoratedPolicy
from protocol.messages import Weights

log = logging.getLogger(__name__)


def adopt_newest(uplink: Uplink, policy: DecoratedPolicy) -> Weights | None:
    """Give `policy` whatever newer weights have arrived; return them, or None."""
    weights = uplink.newest_weights()
    if weights is None:
        return None
    # Copied: the arrays are views of the message's buffers, which are read-only.
    tensors = {name: torch.from_numpy(array.copy()) for name, array in weights.columns.items()}
    log.debug("adopted weights v%d (was v%d)", weights.version, policy.weights_version)
    policy.adopt(weights.version, tensors, weights.behaviour)
    return weights
