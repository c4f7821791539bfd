"""Laws of segments that are written over: whatever is left by a crash, no row of an earlier life is taken for
one of a later, and none that was called durable is missing."""

import random
from pathlib import Path

import msgspec
import pytest

from learner.replay.journal.format import (
    BatchRecord,
    Snapshot,
    Totals,
    encode_record,
    scan,
    segment_path,
    segment_paths,
    spare_paths,
)
from learner.replay.journal.journal import Journal
from protocol.codec import encode
from protocol.messages import Experience
from tests.support.identifiable import make_episode, pack
from tests.support.journal_disk import FailingDisk
from tests.support.journals import LIMITS, SETTINGS, Writer, numbers
from tests.support.spec import SPEC

SMALL = msgspec.structs.replace(SETTINGS, sync_s=1e-3, sync_bytes=20_000, segment_bytes=40_000)
SESSION = 7


def message(sequence: int) -> dict:
    """One episode, identifiable; of several blocks, or less than one."""
    return pack(make_episode(sequence, "actor-0", 0, sequence, 1 + 29 * sequence % 150).rows)


def committed(episodes: int) -> dict:
    return {("actor-0", SESSION, 0): episodes}


def send(writer: Writer, sequence: int) -> None:
    writer.append(SESSION, sequence, message(sequence))
    writer.wait_for(lambda: writer.durable.get(SESSION, 0) > sequence)


def fill(writer: Writer, first: int, segments: int) -> int:
    """Send from `first` on until so many segments more were begun; returns the next sequence number."""
    wanted = max(map(int, (path.stem for path in segment_paths(writer.folder)))) + segments
    while not segment_path(writer.folder, wanted).exists():
        send(writer, first)
        first += 1
    return first


def test_a_segment_that_is_done_is_written_over(tmp_path: Path) -> None:
    writer = Writer(tmp_path, SMALL)
    sequence = fill(writer, 0, 4)
    files = {path.stat().st_ino for path in segment_paths(tmp_path)}
    writer.journal.prune(committed(sequence))
    assert len(spare_paths(tmp_path)) == SMALL.spare_segments == 2
    fill(writer, sequence, 2)
    assert {path.stat().st_ino for path in segment_paths(tmp_path)[-2:]} < files
    assert spare_paths(tmp_path) == []
    writer.journal.close()


def test_a_killed_learner_finds_its_rows_before_the_old_ones_and_says_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    writer = Writer(tmp_path, SMALL)
    sequence = fill(writer, 0, 2)
    writer.journal.prune(committed(sequence))
    sequence = fill(writer, sequence, 1)
    newest = segment_paths(tmp_path)[-1]
    assert newest.stat().st_size > 30_000  # all but the first block is of its earlier life
    send(writer, sequence)
    caplog.clear()
    again = Writer(tmp_path, SMALL)
    assert again.replayed[-1].columns["observation"].tolist() == message(sequence)["observation"].tolist()
    assert newest.stat().st_size < 30_000
    assert caplog.text == ""
    again.journal.close()


def test_what_was_torn_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    writer = Writer(tmp_path, SMALL)
    send(writer, 0)
    [path] = segment_paths(tmp_path)
    with path.open("r+b") as file:
        *_, end = scan(path)
        file.seek(end.end - 4096)
        head = BatchRecord("actor-0", "actor", SESSION, 1, [9999], 1, 1, 1, 0)
        file.write(b"".join(encode_record(1, head, [bytes(9999)]))[:4096])
    again = Writer(tmp_path, SMALL)
    assert len(again.replayed) == 1
    assert "cut a torn tail" in caplog.text
    again.journal.close()


def test_spares_go_when_the_journal_is_closed_or_opened(tmp_path: Path) -> None:
    writer = Writer(tmp_path, SMALL)
    sequence = fill(writer, 0, 4)
    writer.journal.prune(committed(sequence))
    assert len(spare_paths(tmp_path)) == 2
    Journal(tmp_path, SMALL, SPEC, LIMITS)  # the other one was killed
    assert spare_paths(tmp_path) == []
    writer = Writer(tmp_path, SMALL)
    sequence = fill(writer, sequence, 4)
    writer.journal.prune(committed(sequence))
    writer.journal.close()
    writer.journal.discard(committed(sequence))
    assert list(tmp_path.iterdir()) == []


def test_a_segment_of_the_release_before_is_read_and_not_written_over(tmp_path: Path) -> None:
    rows = message(3)
    frames = [bytes(frame) for frame in encode(Experience(session=SESSION, sequence=0, columns=rows), LIMITS)]
    head = BatchRecord("actor-0", "actor", SESSION, 0, [len(frame) for frame in frames], 1, 1, 0, 0)
    records = [encode_record(0, Snapshot(SPEC, [], 0, Totals(), [])), encode_record(0, head, frames)]
    segment_path(tmp_path, 5).write_bytes(b"".join(part for record in records for part in record))
    writer = Writer(tmp_path, SMALL)
    assert writer.replayed[0].columns["action"].tolist() == rows["action"].tolist()
    writer.journal.use_version(1)  # something is on disk
    writer.journal.prune(committed(4))
    assert [path.name for path in tmp_path.iterdir()] == ["00000006.journal"]
    writer.journal.close()


@pytest.mark.parametrize("seed", range(12))
def test_whenever_the_power_goes_the_journal_holds_what_it_called_durable(tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)
    folder = tmp_path / "0"
    folder.mkdir()
    durable = done = 0
    for life in range(4):
        disk = FailingDisk(folder)
        disk.log += [("durable", durable), ("committed", done)]
        live(folder, disk, done, rng)
        for crash in range(12):
            steps = rng.randint(2, len(disk.log))
            left = disk.left(steps, rng, power=rng.random() < 0.7)
            folder = tmp_path / f"{life + 1}-{crash}"
            folder.mkdir()
            for name, content in left.items():
                (folder / name).write_bytes(content)
            durable, done = (newest(disk.log[:steps], kind) for kind in ("durable", "committed"))
            check(folder, durable, done)


def newest(log: list[tuple], kind: str) -> int:
    """How many messages were called durable, or episodes committed."""
    return max(step[1] for step in log if step[0] == kind)


def live(folder: Path, disk: FailingDisk, done: int, rng: random.Random) -> None:
    """Write for a while, and note what was promised."""
    writer = Writer(folder, SMALL, disk=disk)
    writer.told = lambda next_sequences: disk.log.append(("durable", next_sequences[SESSION]))
    known = [state.next_sequence for state in writer.journal.sessions]
    first = known[0] if known else 0
    for sequence in range(first, first + 25):
        writer.append(SESSION, sequence, message(sequence))
        if rng.random() < 0.6:
            writer.wait_for(lambda sequence=sequence: writer.durable.get(SESSION, 0) > sequence)
        if rng.random() < 0.2:
            done = rng.randint(done, max(done, writer.durable.get(SESSION, 0)))
            disk.log.append(("committed", done))
            writer.journal.prune(committed(done))
    writer.journal.close()


def check(folder: Path, durable: int, done: int) -> None:
    """Open what is left: every row that was called durable and is not in the dataset, once and in order."""
    journal = Journal(folder, SMALL, SPEC, LIMITS)
    replayed = list(journal.replay())
    sequences = [int(item.columns["episode"][0]) for item in replayed]
    assert sequences == sorted(set(sequences))
    assert set(range(done, durable)) <= set(sequences)
    expected = [float(x) for sequence in sequences for x in message(sequence)["observation"][:, 0, 0]]
    assert numbers(replayed) == expected
    assert durable == 0 or journal.sessions[0].next_sequence >= durable
