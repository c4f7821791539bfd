"""Which decision follows which, for any interleaving of any number of actors."""

from dataclasses import dataclass

import numpy as np

from learner.replay.memory.rows import Slots
from protocol.messages import Columns


@dataclass(frozen=True)
class OpenDecision:
    """The newest decision of a sub-environment, waiting for its successor."""

    position: int
    episode: int
    decision: int


class Succession:
    """Remembers the newest decision of every sub-environment across messages."""

    def __init__(self) -> None:
        self.broken = 0
        """Decisions whose successor never came."""
        self._open: dict[tuple[str, int], OpenDecision] = {}

    def links(self, actor_id: str, columns: Columns, positions: Slots) -> list[tuple[Slots, Slots]]:
        """Decisions and their successors, as pairs of equally long arrays of positions, within the message
        and across messages.
        `positions`: i8 (M,), of the message's decisions."""
        ended = columns["terminated"] | columns["truncated"]
        order = np.argsort(columns["sub_env"], kind="stable")
        sub_env, episode, decision = (columns[name][order] for name in ("sub_env", "episode", "decision"))
        ended, positions = ended[order], positions[order]
        follows = (
            (sub_env[1:] == sub_env[:-1])
            & ~ended[:-1]
            & (episode[1:] == episode[:-1])
            & (decision[1:] == decision[:-1] + 1)
        )
        links = [(positions[:-1][follows], positions[1:][follows])]
        first = np.flatnonzero(np.r_[True, sub_env[1:] != sub_env[:-1]])
        last = np.r_[first[1:], len(order)] - 1
        heads = zip(*(part[first].tolist() for part in (sub_env, positions, episode, decision)), strict=True)
        tails = zip(*(part[last].tolist() for part in (ended, positions, episode, decision)), strict=True)
        across: list[tuple[int, int]] = []
        for (lane, position, *head), (over, *tail) in zip(heads, tails, strict=True):
            before = self._open.pop((actor_id, lane), None)
            if before is not None and [before.episode, before.decision + 1] == head:
                across.append((before.position, position))
            elif before is not None:
                # A restarted actor or a hole: the open row never gets a successor and is never sampled.
                self.broken += 1
            if not over:
                self._open[actor_id, lane] = OpenDecision(*tail)
        return [*links, *((np.array([row]), np.array([after])) for row, after in across)]
