"""Episodes by their seeds alone."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import gymnasium
import torch


class SeededEpisodes(gymnasium.Wrapper):
    """Episode n of this sub-environment has the seed `first + n * stride`, so that a run repeats.

    A seed given to `reset` is the first of a new sequence. `info` has only what the actor reads.

    Args:
        around_reset: what each reset is done within.
    """

    def __init__(
        self,
        env: gymnasium.Env,
        first: int,
        stride: int,
        around_reset: Callable[[], AbstractContextManager[None]] = nullcontext,
    ) -> None:
        super().__init__(env)
        self._next_seed = first
        self._stride = stride
        self._around_reset = around_reset

    @torch.inference_mode()
    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict]:
        if seed is not None:
            self._next_seed = seed
        # gymnasium formats the trace of a worker's error: no percent sign in a line that calls.
        chosen = self._next_seed % 2**31
        with self._around_reset():
            observation, _ = self.env.reset(seed=chosen, options=options)
        self._next_seed += self._stride
        return observation, {}

    @torch.inference_mode()
    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict]:
        observation, reward, terminated, truncated, info = self.env.step(action)
        return observation, float(reward), terminated, truncated, {"success": bool(info["success"])}
