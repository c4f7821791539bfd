"""Decisions that wait for their batch: those of the newest weights, each in one batch or in none."""

import logging
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from config.on_policy import OnPolicyConfig
from learner.on_policy.rows import Rows, chosen, joined, rows_of
from protocol.arrays import Columns

log = logging.getLogger(__name__)


class _Arrived(NamedTuple):
    end: int
    """Position behind it in the stream of rows."""
    rows: Rows
    ends: int
    """Episodes that end with them."""

    @classmethod
    def of(cls, end: int, rows: Rows) -> "_Arrived":
        return cls(end, rows, int(rows["ended"].sum()))


class Collector:
    """See `Memory`; the dataset of an earlier process has nothing that could still be used.

    Batches are counted from 0. Weights act for the batch after those that they have learned from; a decision
    is old by the number of batches since. What is older than `max_version_lag` is dropped, and so is what
    acted with weights that are not known: those that a killed process had published and not saved.

    Args:
        players: sub-environments that are expected, until their decisions show how many there are.
    """

    def __init__(self, algo: OnPolicyConfig, players: int) -> None:
        self._algo = algo
        self._waiting: list[_Arrived] = []
        self._judged, self._end = True, 0
        self._batch_of: dict[int, int] = {}
        """The batch that each version of the weights acts for."""
        self._players: set[tuple[str, int]] = set()
        self._expected = players
        self._said = self.batch = self.dropped = 0
        """The number of the batch that is being collected, and decisions that came too late for theirs."""

    def restore(self, folder: Path) -> None: ...

    def end_session(self, actor_id: str, session: int) -> None: ...

    def add(self, actor_id: str, session: int, columns: Columns, position: int) -> None:
        self._end = position + len(columns["frames"]) + len(columns["final_row"])
        self._waiting.append(_Arrived.of(self._end, rows_of(session, columns)))
        self._players.update((actor_id, sub_env) for sub_env in columns["sub_env"].tolist())
        self._judged = False

    def published(self, version: int) -> None:
        """These weights act from now on."""
        self._batch_of[version] = self.batch
        # Nothing older is used.
        self._batch_of = {each: batch for each, batch in self._batch_of.items() if self._fits(batch)}
        self._judged = False

    @property
    def is_full(self) -> bool:
        return self.units >= self._algo.batch_units

    @property
    def units(self) -> int:
        """Decisions or episodes that wait, as the algorithm counts them."""
        self._judge()
        if self._algo.rounds_of == "decisions":
            return sum(len(arrived.rows["version"]) for arrived in self._waiting)
        return sum(arrived.ends for arrived in self._waiting)

    @property
    def round(self) -> int:
        """Decisions or episodes that each sub-environment should play for a batch."""
        return -(-self._algo.batch_units // self._expected)

    def take(self) -> Rows:
        """All that waits, as a batch; the next one begins."""
        self._judge()
        rows = joined([arrived.rows for arrived in self._waiting])
        if self.dropped > self._said:
            log.info("batch %d: %d decisions came too late", self.batch, self.dropped - self._said)
        self._waiting, self._said = [], self.dropped
        self.batch += 1
        self._expected, self._players = len(self._players) or self._expected, set()
        return rows

    def give_back(self, rows: Rows) -> None:
        """What a batch could not use yet: it waits for the next one, if it is not too old for that."""
        fits = torch.isin(rows["version"], self._usable())
        if fits.any():
            self._waiting.insert(0, _Arrived.of(self._end, chosen(rows, fits)))

    def state(self) -> dict[str, Any]:
        self._judge()
        return {
            "rows": joined([arrived.rows for arrived in self._waiting]) if self._waiting else {},
            "end": self._end,
            "batch": self.batch,
            "batch_of": dict(self._batch_of),
            "players": [list(player) for player in sorted(self._players)],
            "expected": self._expected,
            "dropped": self.dropped,
        }

    def load_state(self, state: dict[str, Any]) -> None:
        """Continue from what `state` returned, with what has arrived since then."""
        later = [arrived for arrived in self._waiting if arrived.end > state["end"]]
        kept = [_Arrived.of(state["end"], state["rows"])] if state["rows"] else []
        self._waiting, self._end = [*kept, *later], max(self._end, state["end"])
        self.batch, self._batch_of = state["batch"], dict(state["batch_of"])
        self._players = {(actor_id, sub_env) for actor_id, sub_env in state["players"]}
        self._expected, self.dropped = state["expected"], state["dropped"]
        self._said = self.dropped
        self._judged = False

    def _fits(self, batch: int) -> bool:
        return self.batch - batch <= self._algo.max_version_lag

    def _usable(self) -> Tensor:
        """Versions of the weights whose decisions may be in the batch that is being collected."""
        return torch.tensor([version for version, batch in self._batch_of.items() if self._fits(batch)])

    def _judge(self) -> None:
        """Drop what is too old."""
        if self._judged:
            return
        self._judged = True
        usable = self._usable()
        kept, dropped = list[_Arrived](), 0
        for arrived in self._waiting:
            fits = torch.isin(arrived.rows["version"], usable)
            dropped += int((~fits).sum())
            if fits.all():
                kept.append(arrived)
            elif fits.any():
                kept.append(_Arrived.of(arrived.end, chosen(arrived.rows, fits)))
        self._waiting = kept
        self.dropped += dropped
