"""Adopts the newest weights, between decisions."""

import logging
from typing import Protocol

import torch
from torch import Tensor

from actor.link.uplink import Uplink
from actor.policy.finite import non_finite_value
from protocol.messages import Behaviour, Weights

log = logging.getLogger(__name__)


class Adopting(Protocol):
    """A policy that takes newer weights."""

    @property
    def weights_version(self) -> int: ...

    def adopt(self, version: int, weights: dict[str, Tensor], behaviour: Behaviour) -> None: ...


def adopt_newest(uplink: Uplink, policy: Adopting) -> Weights | None:
    """Give `policy` whatever newer weights have arrived; return them, or None.
    It keeps those that it has if a newer one is not finite."""
    weights = uplink.newest_weights()
    if weights is None:
        return None
    # Copied: the arrays are views of the message's buffers, which are read-only.
    tensors = {name: torch.from_numpy(array.copy()) for name, array in weights.columns.items()}
    if (found := non_finite_value(tensors)) is not None:
        log.warning("ignored weights v%d from the learner: %s", weights.version, found)
        return None
    log.debug("adopted weights v%d (was v%d)", weights.version, policy.weights_version)
    policy.adopt(weights.version, tensors, weights.behaviour)
    return weights
