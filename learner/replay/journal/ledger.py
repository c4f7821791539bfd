"""What a journal knows besides its rows: sessions, totals, versions, and which episodes each segment has."""

import functools
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import numpy as np

from learner.replay.journal.format import (
    BatchRecord,
    EndMark,
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

Sender = tuple[str, int]
"""Actor id and session."""

Numbered = tuple[int, int]
"""Session and sequence number of a message."""

# Evaluations that are kept of each policy: as many as `learner.stop_at` may ask for.
_KEPT_EVALUATIONS = 10

# Messages of one actor that are read together.
_MOST_UNREAD = 64


class Ledger:
    """Sessions, version, totals and evaluations after all records so far: the next segment's snapshot.

    Beyond twice MOST_PEERS sessions, the longest unused are forgotten, ended ones first.
    """

    def __init__(self, spec: ExperienceSpec) -> None:
        self.spec = spec
        self.sessions: dict[int, SessionState] = {}  # the longest unused first
        self.version = 0
        self.totals = Totals()
        self._evaluations: dict[Numbered, Evaluation] = {}  # oldest first

    @property
    def evaluations(self) -> list[Evaluation]:
        """The newest ones of each policy, oldest first."""
        return list(self._evaluations.values())

    def snapshot(self) -> Snapshot:
        """All of it as a record."""
        return Snapshot(self.spec, list(self.sessions.values()), self.version, self.totals, self.evaluations)

    def index(self, segment: "Segment", head: BatchRecord, message: Experience | Evaluation) -> None:
        """Note the episodes, or the evaluation, of a message in `segment`."""
        if isinstance(message, Experience):
            segment.note(head.actor_id, head.session, message.columns)
        else:
            self._keep(message)

    def add(self, head: Head) -> None:
        """Add the next record."""
        match head:
            case Snapshot():
                for state in head.sessions:
                    self._merge(state)
                for evaluation in head.evaluations:
                    self._keep(evaluation)
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
            case Padding() | EndMark():
                pass

    def _keep(self, evaluation: Evaluation) -> None:
        """Once: every segment's snapshot repeats the evaluations of the segments before it."""
        self._evaluations[evaluation.session, evaluation.sequence] = evaluation
        same = [number for number, each in self._evaluations.items() if each.policy == evaluation.policy]
        for number in same[:-_KEPT_EVALUATIONS]:
            del self._evaluations[number]

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
    _newest: dict[Sender, dict[int, int]] = field(default_factory=dict[Sender, dict[int, int]])
    """Sub-environment -> newest episode with rows here, of each sender."""
    _unread: dict[Sender, list[tuple[bytes, bytes]]] = field(
        default_factory=dict[Sender, list[tuple[bytes, bytes]]]
    )
    """sub_env and episode of messages that are not in `_newest` yet: to read many costs as much as a few."""

    @functools.cached_property
    def number(self) -> int:
        """Different for all segments with rows that may still be needed."""
        return segment_number(self.path)

    def note(self, actor_id: str, session: int, columns: Columns) -> None:
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
            sub_envs = np.frombuffer(b"".join(first for first, _ in unread), np.int32)
            episodes = np.frombuffer(b"".join(second for _, second in unread), np.int64)
            # In time order for every sub-environment: the last one is the newest.
            if sub_envs.max() < len(sub_envs):
                newest = np.full(len(sub_envs), -1, np.int64)
                newest[sub_envs] = episodes
                [sub_envs] = (newest >= 0).nonzero()
                episodes = newest[sub_envs]
            self._newest.setdefault(sender, {}).update(zip(sub_envs.tolist(), episodes.tolist(), strict=True))
        self._unread.clear()
