"""What a scripted expert is."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Row = NDArray[np.float32]
"""(O,) an observation, or (A,) an action in [-1, 1]."""

Act = Callable[[Row], Row]
"""The action of a frame, from its observation alone, without memory."""


class ScriptedExpert(NamedTuple):
    """How one acts, and in which task as the configuration has it."""

    act: Act
    observation_dim: int
    control_mode: str
