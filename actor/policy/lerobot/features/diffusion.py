"""Diffusion policy: what its network is conditioned on, pictures encoded."""

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

from torch import nn

from actor.policy.lerobot.features.contract import Keep


@contextmanager
def watched(policy: Any, keep: Keep) -> Generator[None]:
    def seen(network: nn.Module, given: Any, keywords: dict[str, Any]) -> None:
        keep(keywords["global_cond"])

    handle = policy.diffusion.unet.register_forward_pre_hook(seen, with_kwargs=True)
    try:
        yield
    finally:
        handle.remove()
