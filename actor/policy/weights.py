"""State dicts that others saved: plain names, nothing but finite tensors; and the hash of weights."""

import hashlib
import logging
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from actor.policy.contract import CheckpointError
from actor.policy.finite import non_finite_value

log = logging.getLogger(__name__)

Weights = dict[str, Tensor]

# Parts of a name that DistributedDataParallel, DataParallel, AveragedModel and torch.compile add.
_WRAPPERS = {"module", "_orig_mod"}
# How many models went into the mean that AveragedModel keeps.
_COUNT = "n_averaged"


def plain_weights(found: Any, where: str) -> Weights:
    """A state dict under the names that its module has without wrappers; the log says what was removed.
    Raises CheckpointError, which names `where`: no state dict, or numbers that are not finite."""
    if not isinstance(found, Mapping) or not all(_is_entry(*entry) for entry in found.items()):
        raise CheckpointError(f"{where} is no state dict: save what module.state_dict() returns")
    weights = {plain_name(name): value for name, value in found.items() if name != _COUNT}
    removed = {part for name in found for part in name.split(".") if part in _WRAPPERS}
    if removed:
        log.info("%s: removed %s from the names of its weights", where, " and ".join(sorted(removed)))
    require_finite(weights.items(), where)
    return weights


def plain_name(name: str) -> str:
    """A weight's name without what wrappers of its module added."""
    return ".".join(part for part in name.split(".") if part not in _WRAPPERS)


def require_finite(weights: Iterable[tuple[str, Tensor]], where: str) -> None:
    """Raise CheckpointError, which names the first tensor that is not finite."""
    if (found := non_finite_value(dict(weights))) is not None:
        raise CheckpointError(
            f"{where}: {found}: its training diverged, choose a checkpoint from before that"
        )


def fingerprint(agent: nn.Module) -> str:
    """Hash of all weights: 16 hex digits that both sides of the wire compare."""
    digest = hashlib.sha256()
    for name, value in sorted(agent.state_dict().items()):
        digest.update(name.encode())
        digest.update(value.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]


def _is_entry(name: Any, value: Any) -> bool:
    usable = isinstance(value, Tensor) and value.layout is torch.strided and not value.is_meta
    return isinstance(name, str) and usable
