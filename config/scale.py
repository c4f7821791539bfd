"""How far a residual reaches."""

from config.section import ConfigError

Scale = float | tuple[float, ...]
"""Largest change of an action: one number for all of its dimensions, or one for each."""


def is_positive(scale: Scale) -> bool:
    """Whether all its numbers are above zero, and there is one."""
    numbers = scale if isinstance(scale, tuple) else (scale,)
    return min(numbers, default=0) > 0


def require_fitting(scale: Scale, action_dim: int) -> None:
    """Raise ConfigError unless it is one number or has `action_dim` of them."""
    if isinstance(scale, tuple) and len(scale) != action_dim:
        raise ConfigError(
            f"algo.residual_scale has {len(scale)} numbers, actions have {action_dim} dimensions: give one "
            "number, or one for each"
        )
