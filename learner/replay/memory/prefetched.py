"""Batches that are drawn while the one before is learned from: pictures take long to gather."""

import time
from concurrent.futures import Future, ThreadPoolExecutor

from torch import Tensor

from learner.replay.memory.batches import Batches, Drawn


class Prefetched:
    """See `BatchSource`. The same batches as those of `batches`, but for rows that arrive after one is drawn,
    which is an update earlier."""

    def __init__(self, batches: Batches) -> None:
        self._batches = batches
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="batches")
        self._ahead: Future[dict[str, Tensor]] | None = None
        self._state = ""
        """Of the draws, before the batch that is ahead."""
        self._waited_s, self._since_s = 0.0, time.monotonic()

    def next(self) -> dict[str, Tensor]:
        """As of `Batches`."""
        asked_s = time.monotonic()
        batch = self._batches.next() if self._ahead is None else self._ahead.result()
        self._waited_s += time.monotonic() - asked_s
        self._state = self._batches.state()
        self._ahead = self._worker.submit(self._batches.next)
        return batch

    def state(self) -> str:
        """As if no batch were ahead, so that a process that resumes draws it."""
        return self._batches.state() if self._ahead is None else self._state

    def load_state(self, state: str) -> None:
        if self._ahead is not None:
            self._ahead.exception()  # waits
            self._ahead = None
        self._batches.load_state(state)

    def drawn(self, later: int) -> Drawn:
        """As of `Batches`, not counting the batch that is ahead."""
        if self._ahead is None:
            return self._batches.drawn(later)
        self._ahead.exception()  # waits
        return self._batches.drawn(later + 1)

    def figures(self) -> dict[str, float]:
        """For metrics.jsonl: also the share of the time since the last call in which updates waited."""
        now_s = time.monotonic()
        share = self._waited_s / max(now_s - self._since_s, 1e-9)
        self._waited_s, self._since_s = 0.0, now_s
        return {**self._batches.figures(), "batch_waiting_share": share}
