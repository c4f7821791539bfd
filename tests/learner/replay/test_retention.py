"""The oldest episodes are removed; the rest is a whole dataset, and every tool reads it correctly."""

import itertools
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from launch.show.viz import choose_episode
from learner.replay.dataset.compaction import Budget
from learner.replay.dataset.format.spec import DatasetError
from learner.replay.memory.ring import Ring
from learner.replay.restore.ring import restore_ring
from learner.replay.tools.outcomes import read_outcomes
from learner.replay.tools.verify import verify
from tests.support.identifiable import ACT, OBS, K, Truth, pack
from tests.support.recorder import LENGTHS, Recorder
from tests.support.ring import check_ring
from tests.system.replay_faults import open_dataset


@pytest.fixture(autouse=True)
def no_hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")


def bytes_on_disk(folder: Path) -> int:
    """Of all files but those of fixed size."""
    kinds = ("data", "meta/episodes", "sidecar", "videos")
    return sum(p.stat().st_size for kind in kinds for p in (folder / kind).rglob("*") if p.is_file())


def first_numbers(folder: Path, episode: int | None = None) -> list[float]:
    table = pq.read_table(
        sorted((folder / "data").rglob("*.parquet")), columns=["observation.state", "episode_index"]
    )
    rows = zip(table["observation.state"].to_pylist(), table["episode_index"].to_pylist(), strict=True)
    return [state[0] for state, index in rows if episode in (None, index)]


def numbers_of(truths: list[Truth]) -> list[float]:
    return [float(x) for truth in truths for x in truth.frames["observation"][:, 0]]


@pytest.mark.parametrize("images", [None, "image", "video"])
def test_a_budget_in_bytes_is_that_of_the_whole_dataset(images: str | None, tmp_path: Path) -> None:
    one = Recorder(tmp_path / "one", None, images)
    for truth in one.truths[:2]:
        one.commit(truth)
    budget = 2 * bytes_on_disk(tmp_path / "one")
    recorder = Recorder(tmp_path / "replay", Budget(max_bytes=budget), images)
    for truth in recorder.truths:
        recorder.commit(truth)
        assert bytes_on_disk(recorder.folder) <= budget
    assert sum(shard.disk for shard in recorder.writer.committed.shards) == bytes_on_disk(recorder.folder)
    kept = recorder.writer.committed.episodes
    assert 2 <= kept < len(LENGTHS)
    assert first_numbers(recorder.folder) == numbers_of(recorder.truths[-kept:])


@pytest.mark.parametrize("images", [None, "video"])
def test_whatever_is_dropped_and_resumed_every_moment_is_a_whole_dataset(
    images: str | None, tmp_path: Path
) -> None:
    recorder = Recorder(tmp_path / "replay", Budget(max_frames=40), images)
    files: dict[Path, bytes] = {}
    for count, truth in enumerate(recorder.truths, start=1):
        if count % 3 == 0:
            recorder.start()
        recorder.commit(truth)
        kept = recorder.writer.committed.episodes
        assert verify(recorder.folder) == []
        assert first_numbers(recorder.folder) == numbers_of(recorder.truths[count - kept : count])
        # What had to go counts as settled for ever: its rows need not come again.
        assert recorder.writer.committed.episodes_done == {("peg", 7, 0): count}
        # Readers trust names: none ever comes back for something else.
        for path in itertools.chain(recorder.folder.glob("*/*/*.parquet"), recorder.folder.rglob("*.mp4")):
            assert files.setdefault(path, path.read_bytes()) == path.read_bytes()
    dataset = open_dataset(recorder.folder)
    assert dataset.num_episodes == kept
    assert dataset.meta.stats["observation.state"]["min"][0] == numbers_of(recorder.truths[-kept:])[0]


def test_a_ring_is_rebuilt_from_what_was_kept_and_goes_on(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path / "replay", Budget(max_frames=40))
    for truth in recorder.truths[:-1]:
        recorder.commit(truth)
    ring, again = recorder.ring, Ring(500, OBS, K * ACT)
    restored = restore_ring(recorder.folder, again)
    kept = recorder.writer.committed.episodes
    assert restored == sum(len(truth.rows) + 1 for truth in recorder.truths[-1 - kept : -1])
    newest = slice(ring.rows.position - restored, ring.rows.position)
    assert again.rows.position == ring.rows.position
    assert (again.rows.block[newest] == ring.rows.block[newest]).all()
    assert np.array_equal(again.rows.following[newest], ring.rows.following[newest])
    assert (again.rows.following[: newest.start] == again.rows.unknown).all()
    last = pack(recorder.truths[-1].rows)
    assert again.add("peg", last) == ring.add("peg", last)
    check_ring(again)
    batch = again.sample(300, np.random.default_rng(0), n_step=1, gamma=0.9, reward_offset=0.0)
    episodes = {int(number // 1000) for number in batch.observation[:, 0].tolist()}
    assert episodes == {truth.number for truth in recorder.truths[-1 - kept :]}


def test_episodes_are_found_under_their_new_numbers(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path / "replay", Budget(max_frames=40))
    for truth in recorder.truths:
        recorder.commit(truth)
    outcomes = read_outcomes(recorder.folder)
    kept = recorder.truths[-len(outcomes) :]
    assert [outcome.episode for outcome in outcomes] == list(range(len(kept)))
    assert [outcome.frames for outcome in outcomes] == [truth.length for truth in kept]
    assert [outcome.version for outcome in outcomes] == [7 * truth.number for truth in kept]

    def goodness(truth: Truth) -> tuple[bool, float]:
        return bool(truth.frames["success"].any()), float(truth.frames["reward"].sum())

    wanted = {"last": kept[-1], "best": max(kept, key=goodness), "worst": min(kept, key=goodness)}
    for word, truth in (wanted | {"0": kept[0]}).items():
        shown = first_numbers(recorder.folder, choose_episode(outcomes, word))
        assert shown == numbers_of([truth]), word


def test_a_lost_video_is_one_clear_line_at_the_next_start(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path / "replay", Budget(max_frames=40), "video")
    recorder.commit(recorder.truths[0])
    next(recorder.folder.rglob("*.mp4")).unlink()
    with pytest.raises(DatasetError, match=r"file-000\.mp4 is missing: residual-rl replay repair"):
        recorder.start()
