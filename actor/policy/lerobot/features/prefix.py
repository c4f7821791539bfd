"""Policies that read pictures, words and state as a prefix, which their actions then attend to.

Their features are the mean of the prefix's tokens behind the last layer, without padding."""

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

from torch import Tensor

from actor.policy.lerobot.features.contract import Keep, replaced_method


@contextmanager
def watched(model: Any, transformer: Any, keep: Keep) -> Generator[None]:
    """`model` embeds the prefix, `transformer` reads it."""
    real: list[Tensor] = []

    def embedded(_: dict[str, Any], result: Any) -> None:
        real.append(result[1])

    def read(keywords: dict[str, Any], result: Any) -> None:
        if keywords["inputs_embeds"][0] is not None:
            counts = real[-1].float()[..., None]
            keep((result[0][0].float() * counts).sum(1) / counts.sum(1))

    with replaced_method(model, "embed_prefix", embedded), replaced_method(transformer, "forward", read):
        yield
