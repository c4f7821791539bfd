"""A sampler as CUDA graphs: the hundreds of small kernels of a plan, launched as one.

A graph reads and writes fixed memory of a fixed batch size. So batches are padded to a few sizes, with one
graph for each size, captured when it is first needed.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from actor.policy.tiles import padded

log = logging.getLogger(__name__)

Sampler = Callable[[Tensor, Tensor], Tensor]
"""Scaled actions (B, pred_horizon, act_dim) from histories (B, obs_horizon, obs_dim) and noise."""

WARM_UPS = 3  # in their first calls libraries choose kernels and allocate memory, which no graph may contain


@dataclass(frozen=True)
class Captured:
    """What `replay()` does: `output` from what the captured function's inputs hold now."""

    replay: Callable[[], None]
    output: Tensor


Capture = Callable[[Callable[[], Tensor]], Captured]


def capture_graph(run: Callable[[], Tensor]) -> Captured:
    """`run`, which reads and writes CUDA tensors that stay where they are, as one graph.
    Raises RuntimeError: no CUDA device, or something in `run` cannot be captured."""
    aside = torch.cuda.Stream()
    aside.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(aside):
        for _ in range(WARM_UPS):
            run()
    torch.cuda.current_stream().wait_stream(aside)
    graph = torch.cuda.CUDAGraph()
    # A simulator's threads may use the device meanwhile: what this thread does is what counts.
    with torch.cuda.graph(graph, capture_error_mode="thread_local"):
        output = run()
    return Captured(graph.replay, output)


@dataclass(frozen=True)
class _Plan:
    """A captured sampler of one batch size and the memory that it reads."""

    history: Tensor
    noise: Tensor
    captured: Captured


class GraphedSampler:
    """`sample` as graphs. If it cannot be captured, it runs eagerly from then on, and a warning says so.
    `sample`: on a GPU; each row's result must not depend on the rows beside it."""

    def __init__(self, sample: Sampler, capture: Capture = capture_graph) -> None:
        self._sample = sample
        self._capture = capture
        self._plans: dict[int, _Plan] = {}
        self._eager = False

    def __call__(self, history: Tensor, noise: Tensor) -> Tensor:
        """As `sample`; the result is the caller's own."""
        plan = None if self._eager else self._plan_for(history, noise)
        if plan is None:
            return self._sample(history, noise)
        rows = len(history)
        plan.history[:rows].copy_(history)
        plan.noise[:rows].copy_(noise)
        plan.captured.replay()
        return plan.captured.output[:rows].clone()

    def _plan_for(self, history: Tensor, noise: Tensor) -> _Plan | None:
        """The graph for this many rows, captured if it is new; None: it cannot be captured."""
        size = padded(len(history))
        if size not in self._plans:
            # Rows that a batch leaves free are computed too: zeros, not whatever the memory has.
            inputs = history.new_zeros(size, *history.shape[1:]), noise.new_zeros(size, *noise.shape[1:])
            try:
                captured = self._capture(lambda: self._sample(*inputs))
            except RuntimeError as error:
                self._eager = True
                log.warning("base plans without CUDA graphs, slower: %s", str(error).splitlines()[:1])
                return None
            self._plans[size] = _Plan(*inputs, captured)
            log.info("base plans of up to %d sub-environments are a CUDA graph", size)
        return self._plans[size]
