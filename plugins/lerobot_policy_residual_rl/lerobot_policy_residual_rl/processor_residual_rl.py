"""What goes before and after the policy: LeRobot's usual steps, which scale nothing here."""

from typing import Any

import torch
from lerobot.processor import PolicyProcessorPipeline, make_default_pre_post_processors

from .configuration_residual_rl import ResidualRlConfig


def make_residual_rl_pre_post_processors(
    config: ResidualRlConfig, dataset_stats: dict[str, dict[str, torch.Tensor]] | None = None
) -> tuple[PolicyProcessorPipeline[dict[str, Any], dict[str, Any]], PolicyProcessorPipeline[Any, Any]]:
    """As `make_default_pre_post_processors`: `config.normalization_mapping` leaves all as it is."""
    return make_default_pre_post_processors(config, dataset_stats)
