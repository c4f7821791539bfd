"""Where the rows of a replay are from: the actor, the episode and the decision of each."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from learner.replay.dataset.arrow import Array, column, flattened, list_ends, read_parquet, values
from learner.replay.dataset.format.layout import SIDECAR_PATH, file_name, file_number, parquet_files
from learner.replay.journal.journal import Replayed
from protocol.arrays import Columns


@dataclass(frozen=True)
class Origin:
    """Of one row; None is what does not apply or is not known."""

    actor: str | None = None
    session: int | None = None
    sub_env: int | None = None
    demonstrations: str | None = None
    """The source of prior data."""
    episode: int | None = None
    """Counts up in a sub-environment, or in the demonstrations, from 0."""
    decision: int | None = None
    """Counts up in the episode; None: its final observation."""
    dataset_episode: int | None = None
    """In the run's dataset, once the episode is there."""

    def __str__(self) -> str:
        if self.episode is None:
            return "a row that is no longer there"
        where = self.demonstrations or f"actor {self.actor}, session {self.session}, sub-env {self.sub_env}"
        what = "final observation" if self.decision is None else f"decision {self.decision}"
        stored = "" if self.dataset_episode is None else f" ({self.dataset_episode} of the dataset)"
        return f"{where}, episode {self.episode}{stored}, {what}"


def origins_of_prior(
    columns: Columns, sources: Sequence[tuple[str, int]], positions: Iterable[int]
) -> dict[int, Origin]:
    """Of rows of the ring that prior data fill.
    `sources`: name and number of episodes of each, in the order of the columns."""
    firsts = np.cumsum([0, *(count for _, count in sources)])
    found: dict[int, Origin] = {}
    wanted = set(positions)
    for position, (_, episode, decision) in _rows(columns, 0):
        if position in wanted:
            source = int(np.searchsorted(firsts, episode, side="right")) - 1
            name, number = sources[source][0], episode - int(firsts[source])
            found[position] = Origin(demonstrations=name, episode=number, decision=decision)
    return found


def origins_of_replay(
    folder: Path, messages: Iterable[Replayed], positions: Iterable[int]
) -> dict[int, Origin]:
    """Of rows that a run received, out of its dataset and of the messages in its journal."""
    wanted = set(positions)
    found: dict[int, Origin] = {}
    for message in messages:
        for position, (sub_env, episode, decision) in _rows(message.columns, message.position):
            if position in wanted:
                found[position] = Origin(
                    message.actor_id, message.session, sub_env, episode=episode, decision=decision
                )
    for path in parquet_files(folder / "data"):
        found |= _in_shard(folder / file_name(SIDECAR_PATH, file_number(path)), wanted)
    return found


def _rows(columns: Columns, first: int) -> Iterator[tuple[int, tuple[int, int, int | None]]]:
    """Position, and sub-environment, episode and decision, of each row of a message."""
    count, finals = len(columns["frames"]), columns["final_row"]
    identity = [columns[name].tolist() for name in ("sub_env", "episode", "decision")]
    positions = first + np.arange(count) + np.searchsorted(finals, np.arange(count))
    yield from zip(positions.tolist(), zip(*identity, strict=True), strict=True)
    for row in finals.tolist():
        yield int(positions[row]) + 1, (identity[0][row], identity[1][row], None)


def _in_shard(sidecar: Path, wanted: set[int]) -> Mapping[int, Origin]:
    names = ["actor_id", "session", "sub_env", "episode", "episode_index", "positions", "final_known"]
    table = read_parquet(sidecar, names)
    positions, ends = flattened(table, "positions"), list_ends(table, "positions")
    episodes = zip(*(values(table, name) for name in names[:5]), strict=True)
    known: Array = column(table, "final_known")
    found: dict[int, Origin] = {}
    for number, (actor, session, sub_env, episode, index) in enumerate(episodes):
        rows: list[int] = positions[ends[number - 1] if number else 0 : ends[number]].tolist()
        decisions: list[int | None] = [*range(len(rows))]
        if known[number]:
            rows, decisions = [*rows, rows[-1] + 1], [*decisions, None]
        for position, decision in zip(rows, decisions, strict=True):
            if position in wanted:
                found[position] = Origin(
                    actor, session, sub_env, episode=episode, decision=decision, dataset_episode=index
                )
    return found
