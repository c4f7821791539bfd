"""What rank 0 tells the others before the first update: what to make, and its state."""

import io
from collections.abc import Mapping
from typing import Any

import msgspec
import torch

from config.main import AnyAlgorithm
from config.train_base import TrainBaseConfig
from learner.ranks.ranks import Ranks


class RunStart(msgspec.Struct, frozen=True, tag="run"):
    """The networks of a run."""

    algo: AnyAlgorithm
    sizes: tuple[int, int, int]
    """observation_dim, action_dim, features_dim"""
    seed: int
    threads: int


class BaseStart(msgspec.Struct, frozen=True, tag="base"):
    """The training of a base."""

    settings: TrainBaseConfig
    counts: tuple[int, ...]
    """Windows of each episode."""


def lead(ranks: Ranks, start: RunStart | BaseStart, *states: Mapping[str, Any]) -> None:
    """Rank 0: have the others make what it has, from `states`."""
    if ranks.size > 1:
        ranks.tell(msgspec.msgpack.encode(start))
        for state in states:
            file = io.BytesIO()
            torch.save(state, file)
            ranks.tell(file.getvalue())


def hear_start(ranks: Ranks) -> RunStart | BaseStart:
    """What `lead` was given."""
    return msgspec.msgpack.decode(ranks.hear(), type=RunStart | BaseStart)


def hear_state(ranks: Ranks) -> Any:
    """The next of its states, on the CPU."""
    return torch.load(io.BytesIO(ranks.hear()), map_location="cpu", weights_only=True)
