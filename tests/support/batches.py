"""Batches for updates."""

import torch
from torch import Tensor


def batch_of(
    rows: int = 16, observation_dim: int = 5, residual_dim: int = 8, discount: float = 0.9
) -> dict[str, Tensor]:
    """A batch of random rows, the same each time, of which each decision costs 1."""
    torch.manual_seed(0)
    return {
        "observation": torch.randn(rows, observation_dim),
        "base_plan": torch.rand(rows, residual_dim) - 0.5,
        "residual": torch.rand(rows, residual_dim) - 0.5,
        "reward": torch.full((rows,), -1.0),
        "discount": torch.full((rows,), discount),
        "next_observation": torch.randn(rows, observation_dim),
        "next_base_plan": torch.rand(rows, residual_dim) - 0.5,
    }
