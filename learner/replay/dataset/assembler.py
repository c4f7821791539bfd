"""Decisions of many interleaved sub-environments -> whole episodes."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from learner.replay.dataset.decisions import Ending, Part, join_decisions, sorted_decisions
from learner.replay.dataset.episode import Episode, Lane
from protocol.arrays import Columns

log = logging.getLogger(__name__)


@dataclass
class _OpenEpisode:
    """An episode whose end has not arrived: the decisions of it that have."""

    number: int
    next_decision: int = 0
    parts: list[Part] = field(default_factory=list[Part])


class EpisodeAssembler:
    """Puts decisions together by lane and episode.

    Rows that were received before are skipped in silence: those of an open episode, and those of the
    first `episodes_done[lane]` episodes of a lane. An episode with a gap in its decisions is dropped
    whole, with a warning: a trajectory with a jump in it would look right and teach something wrong.

    `episodes_done`: number of episodes of each lane that need not come again."""

    def __init__(self, episodes_done: Mapping[Lane, int] | None = None) -> None:
        self._done = dict(episodes_done or {})
        self._open: dict[Lane, _OpenEpisode] = {}
        self._skipping: dict[Lane, int] = {}
        self.dropped = 0
        """Episodes that were dropped because of a gap."""

    @property
    def unfinished(self) -> int:
        """Episodes whose end has not arrived."""
        return len(self._open)

    def add(self, actor_id: str, session: int, messages: Sequence[tuple[Columns, int]]) -> list[Episode]:
        """Add the columns of messages of one session, in order; return the episodes that they ended, in the
        order they ended. Many messages at once cost little more than one.
        `messages`: each with the position of its first row in the stream of rows; a final observation has a
        position of its own behind the decision that it ends."""
        block = sorted_decisions(messages)
        ended: list[tuple[int, Episode]] = []
        for run in block.runs():
            lane = (actor_id, session, run.sub_env)
            fits = self._extend(lane, run.episode, run.decision, (block, run.rows))
            if fits and run.ending is not None:
                self._done[lane] = run.episode + 1
                ended.append((run.ending, self._finish(lane, block.endings.at(run.ending))))
        return [episode for _, episode in sorted(ended, key=lambda pair: pair[0])]

    def end_session(self, actor_id: str, session: int) -> list[Episode]:
        """The session will never send again: its unfinished episodes, truncated at their last row."""
        lanes = [lane for lane in self._open if lane[:2] == (actor_id, session)]
        for lane in lanes:
            self._done[lane] = self._open[lane].number + 1
        return [self._finish(lane, None) for lane in sorted(lanes)]

    def _finish(self, lane: Lane, ending: Ending | None) -> Episode:
        opened = self._open.pop(lane)
        return join_decisions(lane, opened.number, opened.parts, ending)

    def _extend(self, lane: Lane, number: int, decision: int, part: Part) -> bool:
        """Append consecutive decisions; False if they came before or do not fit."""
        opened = self._open.get(lane)
        if number < max(self._done.get(lane, 0), opened.number if opened else 0):
            return False
        if opened is not None and number == opened.number and decision < opened.next_decision:
            seen = opened.next_decision - decision
            block, rows = part
            if rows.start + seen >= rows.stop:
                return False
            decision, part = opened.next_decision, (block, slice(rows.start + seen, rows.stop))
        elif decision == 0 and (opened is None or number > opened.number):
            self._begin(lane, number)
            opened = self._open[lane]
        if opened is None or (number, decision) != (opened.number, opened.next_decision):
            self._skip(lane, number, decision)
            return False
        opened.parts.append(part)
        opened.next_decision += part[1].stop - part[1].start
        return True

    def _begin(self, lane: Lane, number: int) -> None:
        before = self._open.get(lane)
        if before is not None:
            self.dropped += 1
            log.warning("dropped episode %d of %s: the next one began before its end", before.number, lane)
        self._open[lane] = _OpenEpisode(number)
        self._skipping.pop(lane, None)

    def _skip(self, lane: Lane, number: int, decision: int) -> None:
        """Drop what a gap broke; the rest of a broken episode is skipped in silence."""
        broken = {number} - {self._skipping.get(lane)}
        opened = self._open.pop(lane, None)
        if opened is not None:
            broken.add(opened.number)
        self._skipping[lane] = number
        for lost in sorted(broken):
            self.dropped += 1
            log.warning("dropped episode %d of %s: a gap before decision %d", lost, lane, decision)
