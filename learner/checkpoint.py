"""The residual on disk: written beside its place and renamed over it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import msgspec
import torch

from config.schema import Algo
from learner.algorithms.residual_sac import ResidualSAC


def save_checkpoint(folder: Path, algorithm: ResidualSAC, version: int, algo: Algo) -> Path:
    """Write `newest.pt` with all networks; readable with `torch.load(..., weights_only=True)`."""
    place = folder / "newest.pt"
    content = {
        "version": version,
        "updates": algorithm.updates,
        "algo": msgspec.to_builtins(algo),
        "actor": algorithm.actor.state_dict(),
        "critic": algorithm.critic.state_dict(),
        "target_critic": algorithm.target_critic.state_dict(),
        "log_temperature": algorithm.log_temperature.detach(),
    }
    write_checkpoint(place, content)
    return place


def write_checkpoint(place: Path, content: dict[str, Any]) -> None:
    """Write `content` beside `place` and rename it over."""
    place.parent.mkdir(parents=True, exist_ok=True)
    fresh = place.with_name(f"{place.name}.new")
    with fresh.open("wb") as file:
        torch.save(content, file)
        file.flush()
        os.fsync(file.fileno())
    fresh.rename(place)
