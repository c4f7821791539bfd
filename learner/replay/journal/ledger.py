"""What a journal knows besides its rows: sessions, totals, versions, and which episodes lie where."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import numpy as np

from learner.replay.journal.format import (
    BatchRecord,
    End,
    Head,
    Padding,
    SessionEnd,
    Snapshot,
    Totals,
    VersionMark,
    segment_number,
)
from protocol.messages import Columns, Evaluation, Experience, ExperienceSpec
from protocol.session.learner import MOST_PEERS
from protocol.session.peer import SessionState

# (actor id, session, sub-environment) -> how many episodes from 0 are in the dataset.
CommittedEpisodes = Mapping[tuple[str, int, int], int]

# Messages of one actor.
_MOST_UNREAD = 64


class Ledger:
    """The sum of all records up to some point; what the next segment's snapshot says.

    Bounded: of sessions beyond twice MOST_PEERS the longest unused are forgotten, ended ones first.
    """

    def __init__(self, spec: ExperienceSpec) -> None:
        self.spec = spec
        self.sessions: dict[int, SessionState] = {}  # the longest unused first
        self.version = 0
        self.totals = Totals()
        self.evaluations: dict[str, Evaluation] = {}  # by policy

    def snapshot(self) -> Snapshot:
        """All of it as a record."""
        sessions, evaluations = list(self.sessions.values()), list(self.evaluations.values())
        return Snapshot(self.spec, sessions, self.version, self.totals, evaluations)

    def index(self, segment: Segment, head: BatchRecord, message: Experience | Evaluation) -> None:
        """Note what a message says whose record lies in `segment`."""
        if isinstance(message, Experience):
            segment.touch(head.actor_id, head.session, message.columns)
        else:
            self.evaluations[message.policy] = message  # the newest of its policy

    def add(self, head: Head) -> None:
        """Take in the next record."""
        match head:
            case Snapshot():
                for state in head.sessions:
                    self._merge(state)
                self.evaluations |= {each.policy: each for each in head.evaluations}
                self.version = max(self.version, head.version)
                self.totals = max(self.totals, head.totals, key=lambda totals: totals.decisions)
            case BatchRecord():
                state = SessionState(head.actor_id, head.role, head.session, head.sequence + 1, False)
                self._merge(state)
                self.totals = Totals(
                    self.totals.decisions + head.decisions,
                    self.totals.frames + head.frames,
                    max(self.totals.positions, head.position + head.decisions + head.finals),
                )
            case SessionEnd():
                state = self.sessions.get(head.session)
                if state is not None:
                    self.sessions[head.session] = msgspec.structs.replace(state, ended=True)
            case VersionMark():
                self.version = max(self.version, head.version)
            case Padding() | End():
                pass

    def _merge(self, state: SessionState) -> None:
        before = self.sessions.pop(state.session, None)
        if before is not None:
            state = msgspec.structs.replace(
                state,
                next_sequence=max(state.next_sequence, before.next_sequence),
                ended=state.ended or before.ended,
            )
        self.sessions[state.session] = state
        if len(self.sessions) > 2 * MOST_PEERS:
            ended = (number for number, known in self.sessions.items() if known.ended)
            del self.sessions[next(ended, next(iter(self.sessions)))]


@dataclass
class Segment:
    """One file of the journal and the episodes that have rows in it."""

    path: Path
    is_own: bool = False
    """Whether this process wrote it."""
    size: int = 0
    _newest: dict[tuple[str, int], dict[int, int]] = field(default_factory=dict)
    """(actor id, session) -> sub-environment -> newest episode with rows here, of what is read."""
    _unread: dict[tuple[str, int], list[tuple[bytes, bytes]]] = field(default_factory=dict)
    """(actor id, session) -> sub_env and episode of messages: to read many costs as much as a few."""

    @functools.cached_property
    def number(self) -> int:
        """Of all segments with rows that may still be needed, no two have the same."""
        return segment_number(self.path)

    def touch(self, actor_id: str, session: int, columns: Columns) -> None:
        """Note the episodes of one message."""
        unread = self._unread.setdefault((actor_id, session), [])
        unread.append((columns["sub_env"].tobytes(), columns["episode"].tobytes()))
        if len(unread) >= _MOST_UNREAD:
            self._read()

    def is_committed(self, committed: CommittedEpisodes) -> bool:
        """Whether the dataset holds every episode that has rows here."""
        self._read()
        return all(
            committed.get((actor_id, session, sub_env), 0) > episode
            for (actor_id, session), episodes in self._newest.items()
            for sub_env, episode in episodes.items()
        )

    def _read(self) -> None:
        for sender, unread in self._unread.items():
            columns = map(b"".join, zip(*unread, strict=True))
            sub_envs, episodes = map(np.frombuffer, columns, (np.int32, np.int64))
            # In time order for every sub-environment: the last one is the newest.
            if sub_envs.max() < len(sub_envs):
                newest = np.full(len(sub_envs), -1)
                newest[sub_envs] = episodes
                [sub_envs] = (newest >= 0).nonzero()
                episodes = newest[sub_envs]
            self._newest.setdefault(sender, {}).update(zip(sub_envs.tolist(), episodes.tolist(), strict=True))
        self._unread.clear()
