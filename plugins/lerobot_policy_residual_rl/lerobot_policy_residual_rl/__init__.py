"""Policies of residual-rl for LeRobot: importing this package makes the type `residual_rl` known."""

from .configuration_residual_rl import ResidualRlConfig

__all__ = ["ResidualRlConfig"]
