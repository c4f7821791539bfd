"""Optimiser steps that only finite losses and gradients make."""

from typing import NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils import get_total_norm

from config.process import FailedError

# Adam keeps squares, and those of larger numbers overflow float32.
LARGEST = 1e18

# As in torch.nn.utils.clip_grad_norm_.
_CLIP_EPSILON = 1e-6


class NonFinite(NamedTuple):
    """The first step that was skipped."""

    update: int
    network: str
    """Whose step: critic, actor, ..."""
    loss: float
    gradient_norm: float

    def __str__(self) -> str:
        if not abs(self.loss) < LARGEST:
            return f"update {self.update}: the {self.network}'s loss is {self.loss:g}"
        return f"update {self.update}: the norm of the {self.network}'s gradient is {self.gradient_norm:g}"


class NonFiniteError(FailedError):
    """Training came to a loss, gradient or weight that is not finite, and did not use it."""


class FiniteSteps(Protocol):
    """Steps of Adam. The first whose loss or gradient is not finite is skipped, and so are all after it: no
    weight, moving average or state of the optimiser ever gets such a value."""

    def step(
        self,
        optimizer: torch.optim.Adam,
        loss: Tensor,
        network: str,
        update: int,
        *,
        largest_norm: float | None = None,
    ) -> bool:
        """Make a step of `optimizer`, whose gradients are those of `loss`, unless it must be skipped.

        Args:
            network, update: what the step is called.
            largest_norm: gradients whose norm together is larger are scaled to it first, as
                `torch.nn.utils.clip_grad_norm_` does; the norm that is looked at is that before.

        Returns False if it is known to be skipped.
        """
        ...

    def first_skipped(self) -> NonFinite | None:
        """The first step that was skipped, if any was."""
        ...


def finite_steps(device: torch.device) -> FiniteSteps:
    """For networks on `device`."""
    return DeferredSteps(device) if device.type == "cuda" else CheckedSteps()


class CheckedSteps:
    """Looks at each loss and gradient before the step."""

    def __init__(self) -> None:
        self._skipped: NonFinite | None = None

    def step(
        self,
        optimizer: torch.optim.Optimizer,
        loss: Tensor,
        network: str,
        update: int,
        *,
        largest_norm: float | None = None,
    ) -> bool:
        gradients = _gradients(optimizer)
        size, norm = loss.item(), _norm_on_cpu(gradients)
        if self._skipped is None and not abs(size) + norm < LARGEST:
            self._skipped = NonFinite(update, network, size, norm)
        if self._skipped is None:
            if largest_norm is not None and norm > largest_norm:
                _scale(gradients, largest_norm / (norm + _CLIP_EPSILON))
            optimizer.step()
        return self._skipped is None

    def first_skipped(self) -> NonFinite | None:
        return self._skipped


class DeferredSteps:
    """The same on a GPU, where looking at each step would wait for it: the optimiser itself skips the step
    (`found_inf`, as with mixed precision); `first_skipped` waits once for all steps since the last call."""

    def __init__(self, device: torch.device) -> None:
        self._blocked = torch.zeros((), device=device)
        self._steps: list[tuple[int, str, Tensor]] = []

    @torch.no_grad()
    def step(
        self,
        optimizer: torch.optim.Adam,
        loss: Tensor,
        network: str,
        update: int,
        *,
        largest_norm: float | None = None,
    ) -> bool:
        gradients = _gradients(optimizer)
        norm = get_total_norm(gradients)
        if largest_norm is not None:
            _scale(gradients, (largest_norm / (norm + _CLIP_EPSILON)).clamp(max=1.0))
        self._blocked = torch.maximum(self._blocked, (~(loss.abs() + norm < LARGEST)).float())
        self._steps.append((update, network, torch.stack([loss, norm, self._blocked])))
        setattr(optimizer, "found_inf", self._blocked)  # noqa: B010  # torch has no type for it
        optimizer.step()
        return True

    def first_skipped(self) -> NonFinite | None:
        steps, self._steps = self._steps, []
        if not self._blocked.item():
            return None
        for update, network, figures in steps:
            loss, norm, blocked = figures.tolist()
            if blocked:
                return NonFinite(update, network, loss, norm)
        return None


def _gradients(optimizer: torch.optim.Optimizer) -> list[Tensor]:
    parameters = (parameter for group in optimizer.param_groups for parameter in group["params"])
    return [parameter.grad for parameter in parameters if parameter.grad is not None]


def _scale(gradients: list[Tensor], factor: Tensor | float) -> None:
    for gradient in gradients:
        gradient.mul_(factor)


def _norm_on_cpu(gradients: list[Tensor]) -> float:
    """Of all of them together. Numpy reads small tensors at half the cost of torch."""
    arrays = [gradient.cpu().numpy() for gradient in gradients]
    return sum(float(np.vdot(array, array)) for array in arrays) ** 0.5
