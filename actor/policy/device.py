"""Checks that the devices of a configuration exist, before anything is loaded."""

import torch

from config.actor import ActorConfig
from config.process import UsageError


class DeviceError(UsageError):
    """A device that torch cannot use here; the message names the key."""


def require_device(key: str, name: str) -> None:
    """Raise DeviceError unless torch can use `name` (cpu, cuda, cuda:1, ...), which `key` asks for."""
    try:
        torch.empty(0, device=name)
    # Torch says it in many lines, and without a driver in an assertion.
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DeviceError(f"{key}={name} cannot be used: {reason}") from error


def require_devices(settings: ActorConfig) -> None:
    """Raise DeviceError unless policy and simulator find what they run on."""
    require_device("actor.device", settings.device)
    if settings.backend == "physx_cuda":
        require_device("actor.backend=physx_cuda wants a GPU: actor.device", "cuda")
