"""Adopts the newest weights, between decisions, and the newest base, between episodes."""

import logging
from typing import Protocol

import torch
from safetensors import SafetensorError
from safetensors.torch import load
from torch import Tensor

from actor.link.uplink import Uplink
from actor.policy.contract import CheckpointError
from actor.policy.finite import non_finite_value
from protocol.messages import Behaviour, Weights

log = logging.getLogger(__name__)


class Adopting(Protocol):
    """A policy that takes newer weights."""

    @property
    def weights_version(self) -> int: ...

    @property
    def has_room(self) -> bool: ...

    def adopt(self, version: int, weights: dict[str, Tensor], behaviour: Behaviour) -> None: ...

    def adopt_base(self, version: int, weights: dict[str, Tensor]) -> None: ...


def adopt_newest(uplink: Uplink, policy: Adopting) -> Weights | None:
    """Give `policy` whatever newer weights have arrived, and the base that they are for; return them, or
    None. It keeps what it has if something newer is not finite or does not fit: a base that does not leaves
    the weights for it unused too."""
    weights = uplink.newest_weights(with_base=policy.has_room)
    if weights is None:
        return None
    content = uplink.take_base()
    # Copied: the arrays are views of the message's buffers, which are read-only.
    tensors = {name: torch.from_numpy(array.copy()) for name, array in weights.columns.items()}
    try:
        if content is not None and weights.base is not None:
            base = load(bytes(content))
            _require_finite(base)
            policy.adopt_base(weights.base.version, base)
            uplink.confirm_base()
            log.info("adopted base v%d (%.1f MB)", weights.base.version, len(content) / 1e6)
        _require_finite(tensors)
    except (CheckpointError, SafetensorError) as error:
        log.warning("ignored weights v%d from the learner: %s", weights.version, error)
        return None
    log.debug("adopted weights v%d (was v%d)", weights.version, policy.weights_version)
    policy.adopt(weights.version, tensors, weights.behaviour)
    return weights


def _require_finite(tensors: dict[str, torch.Tensor]) -> None:
    if (found := non_finite_value(tensors)) is not None:
        raise CheckpointError(found)
