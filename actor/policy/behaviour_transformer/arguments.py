"""`args.json` of a behaviour transformer, read and checked."""

from pathlib import Path
from typing import Annotated, Any

import msgspec

from actor.policy import published

Size = Annotated[int, msgspec.Meta(ge=1, le=4096)]

# Keys that change a policy and that published files do not have, with the values that this code implements.
IMPLEMENTED: dict[str, tuple[Any, ...]] = {"obs_mode": ("state",)}


class Arguments(msgspec.Struct, frozen=True):
    """The keys of args.json that say what the network is. Others say how it was trained."""

    control_mode: str
    context_window: Size
    n_clusters: Size
    n_layers: Size
    n_heads: Size
    n_embedding: Size
    env_id: str | None = None


def read_arguments(path: Path) -> Arguments:
    """Raises CheckpointError: see `published.read_arguments`."""
    return published.read_arguments(path, "behaviour_transformer", Arguments, IMPLEMENTED)
