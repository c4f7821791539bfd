"""ACT: the mean of its encoder's tokens."""

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

from actor.policy.lerobot.features.contract import Keep


@contextmanager
def watched(policy: Any, keep: Keep) -> Generator[None]:
    def seen(encoder: nn.Module, given: Any, tokens: Tensor) -> None:
        keep(tokens.mean(0))  # (tokens, B, E)

    handle = policy.model.encoder.register_forward_hook(seen)
    try:
        yield
    finally:
        handle.remove()
