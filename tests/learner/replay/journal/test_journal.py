"""Laws of learner.replay.journal: what was called durable is found again, and nothing else is kept."""

import logging
import shutil
from pathlib import Path

import msgspec
import numpy as np
import pytest

from learner.replay.journal.disk import Disk
from learner.replay.journal.format import BatchRecord, scan, segment_paths
from learner.replay.journal.journal import JournalError
from protocol.codec import encode
from protocol.messages import Evaluation
from protocol.session.peer import Peer, SessionState
from tests.support.identifiable import make_stream, pack
from tests.support.journals import LIMITS, SETTINGS, Writer
from tests.support.spec import SPEC


def messages(episodes: int = 6, rows: int = 3, actor_id: str = "actor-0") -> list[dict]:
    """Identifiable rows of two sub-environments, in messages."""
    _, stream = make_stream(actor_id, 0, [5 + i for i in range(episodes)], sub_envs=2)
    return [pack(stream[i : i + rows]) for i in range(0, len(stream), rows)]


def end_of_rows(path: Path) -> int:
    """Behind the last message."""
    return max(record.end for record in scan(path) if isinstance(record.head, BatchRecord))


def test_what_is_durable_comes_back_as_it_was(tmp_path: Path) -> None:
    first, sent = Writer(tmp_path), messages()
    for sequence, columns in enumerate(sent):
        first.append(7, sequence, columns)
    first.wait_for(lambda: first.durable.get(7) == len(sent))
    # Not closed: as after SIGKILL.
    again = Writer(tmp_path)
    assert [(item.actor_id, item.session) for item in again.replayed] == [("actor-0", 7)] * len(sent)
    for item, columns in zip(again.replayed, sent, strict=True):
        for name, column in columns.items():
            np.testing.assert_array_equal(item.columns[name], column)
            assert item.columns[name].flags.aligned
    assert again.journal.sessions == [SessionState("actor-0", "actor", 7, len(sent), False)]
    rows = [len(columns["frames"]) + len(columns["final_row"]) for columns in sent]
    assert [item.position for item in again.replayed] == [0, *np.cumsum(rows[:-1]).tolist()]
    assert again.journal.next_position == sum(rows)
    assert again.journal.totals.decisions == sum(len(columns["frames"]) for columns in sent)
    assert again.journal.totals.frames == sum(int(columns["frames"].sum()) for columns in sent)
    for writer in (first, again):
        writer.journal.close()


@pytest.mark.parametrize("cut", [1, 7, 13, 200])
def test_a_torn_tail_is_cut_at_the_last_whole_record(
    tmp_path: Path, cut: int, caplog: pytest.LogCaptureFixture
) -> None:
    writer, sent = Writer(tmp_path), messages()
    for sequence, columns in enumerate(sent):
        writer.append(7, sequence, columns)
    writer.journal.close()
    [path] = segment_paths(tmp_path)
    path.write_bytes(path.read_bytes()[: end_of_rows(path) - cut])
    again = Writer(tmp_path)
    assert len(again.replayed) == len(sent) - 1
    assert again.journal.sessions[0].next_sequence == len(sent) - 1
    assert "cut a torn tail" in caplog.text
    again.append(7, len(sent) - 1, sent[-1])
    again.journal.close()
    caplog.clear()
    last = Writer(tmp_path)
    assert len(last.replayed) == len(sent)
    assert caplog.text == ""
    last.journal.close()


@pytest.mark.parametrize("garbage", [b"\0" * 4096, b"\xff" * 4096, bytes(range(256))])
def test_garbage_behind_the_last_record_is_no_record(
    tmp_path: Path, garbage: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    writer = Writer(tmp_path)
    writer.append(7, 0, messages()[0])
    writer.journal.close()
    [path] = segment_paths(tmp_path)
    path.write_bytes(path.read_bytes()[: end_of_rows(path)] + garbage)
    again = Writer(tmp_path)
    assert len(again.replayed) == 1
    assert f"cut a torn tail: no whole record in {len(garbage)} bytes" in caplog.text
    again.journal.close()


def test_a_flipped_bit_is_noticed(tmp_path: Path) -> None:
    writer, sent = Writer(tmp_path), messages()
    for sequence, columns in enumerate(sent):
        writer.append(7, sequence, columns)
    writer.journal.close()
    [path] = segment_paths(tmp_path)
    content = bytearray(path.read_bytes())
    content[end_of_rows(path) - 100] ^= 1
    path.write_bytes(content)
    again = Writer(tmp_path)
    assert len(again.replayed) == len(sent) - 1
    again.journal.close()


def test_damage_before_the_newest_segment_stops_with_the_place(tmp_path: Path) -> None:
    for sequence, columns in enumerate(messages()[:2]):
        writer = Writer(tmp_path)
        writer.append(7, sequence, columns)
        writer.journal.close()
    oldest = segment_paths(tmp_path)[0]
    oldest.write_bytes(oldest.read_bytes()[:-5])
    with pytest.raises(JournalError, match="is damaged at byte"):
        Writer(tmp_path)


def test_a_crash_while_a_segment_begins_loses_nothing(tmp_path: Path) -> None:
    writer = Writer(tmp_path)
    writer.append(7, 0, messages()[0])
    writer.journal.close()
    (tmp_path / "00000002.journal").write_bytes(b"\x01")
    again = Writer(tmp_path)
    assert len(again.replayed) == 1
    assert [path.name for path in segment_paths(tmp_path)] == ["00000001.journal", "00000002.journal"]
    again.journal.close()


def test_segments_go_when_their_episodes_are_committed_and_sessions_stay(tmp_path: Path) -> None:
    small = msgspec.structs.replace(SETTINGS, segment_bytes=2000, sync_s=0.001)
    writer, sent = Writer(tmp_path, small), messages(episodes=10)
    for sequence, columns in enumerate(sent):
        writer.append(7, sequence, columns)
        writer.wait_for(lambda sequence=sequence: writer.durable.get(7) == sequence + 1)
    writer.journal.close()
    many = len(segment_paths(tmp_path))
    assert many >= 5
    writer.journal.prune({})
    assert len(segment_paths(tmp_path)) == many
    writer.journal.prune({("actor-0", 7, 0): 2, ("actor-0", 7, 1): 2})
    fewer = len(segment_paths(tmp_path))
    assert 1 < fewer < many
    writer.journal.prune({("actor-0", 7, 0): 5, ("actor-0", 7, 1): 5})
    assert len(segment_paths(tmp_path)) == 1
    again = Writer(tmp_path)
    assert again.journal.sessions == [SessionState("actor-0", "actor", 7, len(sent), False)]
    assert again.journal.totals.decisions == sum(len(columns["frames"]) for columns in sent)
    again.journal.close()
    again.journal.discard({("actor-0", 7, 0): 5, ("actor-0", 7, 1): 5})
    assert segment_paths(tmp_path) == []


def test_a_segment_with_an_open_episode_stays_though_later_ones_go(tmp_path: Path) -> None:
    small = msgspec.structs.replace(SETTINGS, segment_bytes=1, sync_s=0.001)
    writer = Writer(tmp_path, small)
    gone, lively = messages(episodes=1), messages(episodes=4)
    writer.append(1, 0, gone[0], "actor-gone")
    writer.wait_for(lambda: writer.durable.get(1) == 1)
    for sequence, columns in enumerate(lively):
        writer.append(2, sequence, columns)
        writer.wait_for(lambda sequence=sequence: writer.durable.get(2) == sequence + 1)
    writer.journal.close()
    writer.journal.prune({("actor-0", 2, 0): 2, ("actor-0", 2, 1): 2})
    again = Writer(tmp_path)
    assert {item.actor_id for item in again.replayed} == {"actor-gone"}
    assert {state.session for state in again.journal.sessions} == {1, 2}
    again.journal.close()


def test_a_refused_message_keeps_its_number_and_has_no_rows(tmp_path: Path) -> None:
    writer = Writer(tmp_path)
    writer.append(7, 0, None)
    writer.journal.close()
    again = Writer(tmp_path)
    assert again.replayed == []
    assert again.journal.sessions[0].next_sequence == 1
    again.journal.close()


def test_ends_of_sessions_versions_and_evaluations_come_back(tmp_path: Path) -> None:
    writer = Writer(tmp_path / "alive")
    writer.append(7, 0, messages()[0])
    writer.journal.end_session("actor-0", 7)
    evaluation = Evaluation(
        session=9, sequence=0, policy="base", version=0, successes=[True], seeds=[3], wall_s=1.0
    )
    frames = [bytes(frame) for frame in encode(evaluation, LIMITS)]
    writer.journal.append(Peer("evaluator-0", "evaluator", 9, "", b"", 0, 0.0), evaluation, frames)
    for version in range(1, 6):
        writer.journal.use_version(version)
    # As if it were killed now; it still marks the versions that come next.
    shutil.copytree(tmp_path / "alive", tmp_path / "killed")
    again = Writer(tmp_path / "killed")
    assert again.journal.version >= 5
    assert again.journal.evaluations == [evaluation]
    states = {state.session: state for state in again.journal.sessions}
    assert states[7].ended
    assert not states[9].ended
    assert states[9].role == "evaluator"
    for each in (writer, again):
        each.journal.close()


def test_the_newest_ten_evaluations_of_each_policy_come_back_in_order(tmp_path: Path) -> None:
    writer = Writer(tmp_path / "alive")
    sent = [
        Evaluation(
            session=9, sequence=number, policy="full" if number else "base", version=number,
            successes=[True], seeds=[3], wall_s=1.0,
        )
        for number in range(14)
    ]  # fmt: skip
    for evaluation in sent:
        frames = [bytes(frame) for frame in encode(evaluation, LIMITS)]
        writer.journal.append(Peer("evaluator-0", "evaluator", 9, "", b"", 0, 0.0), evaluation, frames)
    writer.journal.close()
    for _ in range(2):  # each process begins a segment with what it knows
        again = Writer(tmp_path / "alive")
        assert again.journal.evaluations == [sent[0], *sent[4:]]
        again.journal.close()


def test_rows_of_another_spec_are_refused(tmp_path: Path) -> None:
    writer = Writer(tmp_path)
    writer.append(7, 0, messages()[0])
    writer.journal.close()
    other = msgspec.structs.replace(SPEC, act_horizon=4)
    with pytest.raises(JournalError, match="act_horizon 8, this run has act_horizon 4"):
        Writer(tmp_path, spec=other)


class FullDisk(Disk):
    def sync(self, descriptor: int) -> None:
        raise OSError(28, "No space left on device")


def test_a_full_disk_is_the_owners_to_know(tmp_path: Path) -> None:
    writer = Writer(tmp_path, disk=FullDisk())
    writer.append(7, 0, messages()[0])
    with pytest.raises(JournalError, match="No space left on device"):
        writer.journal.use_version(1)
    with pytest.raises(JournalError, match="No space left on device"):
        writer.journal.raise_if_failed()
    assert writer.durable == {}


class CountingDisk(Disk):
    def __init__(self) -> None:
        self.syncs = 0

    def sync(self, descriptor: int) -> None:
        self.syncs += 1


def test_many_messages_share_a_sync(tmp_path: Path) -> None:
    disk = CountingDisk()
    writer = Writer(tmp_path, msgspec.structs.replace(SETTINGS, sync_s=0.2), disk=disk)
    [columns] = messages(episodes=1, rows=100)
    for sequence in range(50):
        writer.append(7, sequence, columns)
    writer.wait_for(lambda: writer.durable.get(7) == 50)
    assert disk.syncs < 10
    writer.journal.close()


def test_a_quiet_journal_says_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    for _ in range(2):
        writer = Writer(tmp_path)
        assert writer.replayed == []
        writer.journal.close()
    assert caplog.text == ""
