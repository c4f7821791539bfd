"""How far a residual reaches, and in which dimensions of an action."""

from config.section import ConfigError

Scale = float | tuple[float, ...]
"""Largest change of an action: one number for all of its dimensions, or one for each."""


def require_fitting(scale: Scale, action_dim: int) -> None:
    """Raise ConfigError unless it is one number or has `action_dim` of them."""
    if isinstance(scale, tuple) and len(scale) != action_dim:
        raise ConfigError(
            f"algo.residual_scale has {len(scale)} numbers, actions have {action_dim} dimensions: give one "
            "number, or one for each"
        )


def changed_dims(dims: tuple[int, ...] | None, action_dim: int) -> tuple[int, ...]:
    """Those of algo.residual_dims, or all. Raises ConfigError: actions have no such dimension."""
    chosen = tuple(range(action_dim)) if dims is None else dims
    if any(not 0 <= dim < action_dim for dim in chosen):
        raise ConfigError(
            f"algo.residual_dims={list(chosen)} must lie in 0 .. {action_dim - 1}: the task's action "
            f"dimension is {action_dim}"
        )
    return chosen
