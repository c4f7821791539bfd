"""Intervals of measured rates."""

import math

Z_95 = 1.959964


def wilson_interval(rate: float, trials: int, z: float = Z_95) -> tuple[float, float]:
    """95 % interval of a success rate; holds near 0 and 1 too (Wilson 1927)."""
    if trials < 1:
        raise ValueError(f"trials must be at least 1, got {trials}")
    spread = z * z / trials
    centre = (rate + spread / 2) / (1 + spread)
    half = z / (1 + spread) * math.sqrt(rate * (1 - rate) / trials + spread / (4 * trials))
    # Rounding must not put the rate outside.
    return max(0.0, min(rate, centre - half)), min(1.0, max(rate, centre + half))
