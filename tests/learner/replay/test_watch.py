"""Stock readers of a dataset, in processes of their own, while its files go."""

import contextlib
import itertools
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from learner.replay.dataset import watch as readers
from learner.replay.dataset.compaction import Budget
from learner.replay.dataset.store import LeRobotStore
from learner.replay.dataset.watch import ReaderWatch
from learner.replay.tools.verify import verify
from tests.support.identifiable import ACT, OBS, Truth, make_stream, pack
from tests.support.recorder import Recorder
from tests.system.replay_faults import open_dataset

# Stock, but it waits for a word before it opens what it has listed, and before it opens the dataset again.
READER = """
import sys
from datasets import Dataset
from lerobot.datasets.lerobot_dataset import LeRobotDataset
opens = Dataset.from_parquet

def slowly(paths, **more):
    print("opens", len(paths), flush=True)
    sys.stdin.readline()
    return opens(paths, **more)

Dataset.from_parquet = slowly
while True:
    dataset = LeRobotDataset("tests/replay", root=sys.argv[1], delta_timestamps={"action": [0.0, 0.05]})
    items = [dataset[i] for i in range(len(dataset))]
    first = [float(item["observation.state"][0]) for item in items if item["frame_index"] == 0]
    # Episode n begins with 1000 n: those that are there follow one another.
    assert first == [first[0] + 1000 * n for n in range(dataset.num_episodes)], first
    assert [int(item["index"]) for item in items] == list(range(len(items)))
    print("read", int(first[0] // 1000), dataset.num_episodes, flush=True)
    sys.stdin.readline()
"""


class Reader:
    """A process that opens a folder as often as it is told to."""

    def __init__(self, folder: Path, repository: Path, home: Path) -> None:
        words = {"HF_HUB_OFFLINE": "1", "HF_HOME": str(home), "PYTHONPATH": str(repository)}
        self._process = subprocess.Popen(
            [sys.executable, "-c", READER, str(folder)], env=os.environ | words | {"OMP_NUM_THREADS": "1"},
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip

    def hears(self) -> list[str]:
        """Its next line, in words."""
        assert self._process.stdout is not None and self._process.stderr is not None
        line = self._process.stdout.readline().split()
        assert line, self._process.stderr.read()
        return line

    def go_on(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()

    def close(self) -> None:
        self._process.kill()
        self._process.communicate()


@pytest.fixture
def reader(tmp_path: Path, repository: Path) -> Iterator[Callable[[], Reader]]:
    with contextlib.ExitStack() as started:

        def start() -> Reader:
            made = Reader(tmp_path / "replay", repository, tmp_path / "hf")
            started.callback(made.close)
            return made

        yield start


def open_store(folder: Path, budget: Budget | None = None) -> LeRobotStore:
    return LeRobotStore(
        folder, repo_id="tests/replay", observation_dim=OBS, action_dim=ACT, fps=20, robot_type="panda",
        task="PickCube-v1", queue_episodes=50, flush_s=0.01, budget=budget,
    )  # fmt: skip


@pytest.fixture
def quiet(monkeypatch: pytest.MonkeyPatch) -> Callable[[bool], None]:
    """Whether a reader that opened something at any time still counts as busy."""

    def choose(counts: bool) -> None:
        monkeypatch.setattr(readers, "QUIET_S", 1000.0 if counts else 0.0)
        monkeypatch.setattr(readers, "MAX_POSTPONE_S", 1000.0)
        monkeypatch.setattr(readers, "MAX_WAIT_S", 1000.0)

    return choose


def test_no_file_goes_between_a_stock_reader_s_list_and_its_opening(reader, quiet, tmp_path: Path) -> None:
    quiet(True)
    truths, _ = make_stream("peg", 0, [7] * 40, sub_envs=1)
    coming = iter(truths)
    store = open_store(tmp_path / "replay", Budget(max_frames=70))

    def feed(episodes: int) -> None:
        """Each in a commit of its own."""
        for truth in itertools.islice(coming, episodes):
            store.add("peg", 0, pack(truth.rows))
            while store.committed().get(("peg", 0, 0), 0) <= truth.number:
                store.raise_if_failed()
                time.sleep(0.001)

    feed(8)
    opening = reader()
    kept = []
    for _ in range(3):
        # The tables of episodes, then the frames: before either is opened, the budget is exceeded.
        for _ in range(2):
            assert opening.hears()[0] == "opens"
            feed(3)
            opening.go_on()
        word, first, count = opening.hears()
        kept.append((int(first), int(count)))
        feed(1)
        assert word == "read" and store.episodes > 10, "files went while somebody opened them"
        quiet(False)
        feed(1)
        assert store.episodes <= 10, "nothing went when nobody read"
        quiet(True)
        opening.go_on()
    assert [first for first, _ in kept] == sorted({first for first, _ in kept}), kept
    assert opening.hears()[0] == "opens"
    files = len(list((tmp_path / "replay").glob("data/*/*")))
    ending = threading.Thread(target=store.close)
    ending.start()
    opening.go_on()
    assert opening.hears() == ["opens", str(files)]
    opening.go_on()
    opening.hears()
    assert ending.is_alive() and files > 1
    quiet(False)
    ending.join()
    opening.go_on()
    assert opening.hears() == ["opens", "1"]
    assert verify(tmp_path / "replay") == []


def test_somebody_is_busy_who_opens_files_but_not_for_ever(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(readers, "QUIET_S", 1000.0)
    monkeypatch.setattr(readers, "MAX_POSTPONE_S", 1000.0)
    (tmp_path / "meta").mkdir()
    (tmp_path / "data" / "chunk-000").mkdir(parents=True)
    frames = tmp_path / "data" / "chunk-000" / "file-000.parquet"
    frames.write_bytes(b"frames")
    watch, hurry = ReaderWatch(tmp_path), threading.Event()
    list(tmp_path.rglob("*"))
    assert not watch.busy(), "the writer itself lists folders"
    frames.read_bytes()
    assert watch.busy()
    hurry.set()
    watch.wait(hurry)
    assert watch.busy()
    monkeypatch.setattr(readers, "MAX_POSTPONE_S", 0.0)
    assert not watch.busy()
    monkeypatch.setattr(readers, "MAX_WAIT_S", 0.0)
    watch.wait(threading.Event())


def write(folder: Path, part: list[Truth], after_each: Callable[[], object] = lambda: None) -> int:
    """Each in a commit of its own; how many files there are when the store was closed."""
    with open_store(folder, Budget(max_frames=70)) as store:
        for truth in part:
            store.add("peg", 0, pack(truth.rows))
            while store.committed().get(("peg", 0, 0), 0) <= truth.number:
                store.raise_if_failed()
                time.sleep(0.001)
            after_each()
    assert verify(folder) == []
    return len(list(folder.glob("data/*/*")))


def frames(folder: Path) -> int:
    return json.loads((folder / "meta/info.json").read_text())["total_frames"]


def test_a_limit_holds_in_the_end_though_somebody_read_until_then(
    quiet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    quiet(True)
    monkeypatch.setattr(readers, "MAX_WAIT_S", 0.0)
    truths, _ = make_stream("peg", 0, [7] * 15, sub_envs=1)
    seen = []
    assert write(tmp_path / "replay", truths, lambda: seen.append(frames(tmp_path / "replay"))) == 1
    assert seen == [7 * (n + 1) for n in range(15)]
    assert frames(tmp_path / "replay") == 49


def test_files_stay_as_long_as_somebody_asks_for_it(quiet, tmp_path: Path, caplog) -> None:
    quiet(False)
    truths, _ = make_stream("peg", 0, [7] * 20, sub_envs=1)
    subprocess.run(["touch", "-d", "+2 hours", tmp_path / "replay.hold"], check=True)
    assert write(tmp_path / "replay", truths[:15]) == 15, "a file went that somebody wanted"
    assert caplog.text.count("no file is removed until") == 1
    subprocess.run(["touch", tmp_path / "replay.hold"], check=True)
    assert write(tmp_path / "replay", truths[15:]) == 1
    assert frames(tmp_path / "replay") <= 70


def test_a_dataset_of_videos_that_is_open_stays_whole_while_they_are_held(quiet, tmp_path: Path) -> None:
    quiet(False)
    recorder = Recorder(tmp_path / "replay", Budget(max_frames=40), "video")
    for truth in recorder.truths[:4]:
        recorder.commit(truth)
    dataset = open_dataset(recorder.folder)
    (tmp_path / "replay.hold").touch()
    os.utime(tmp_path / "replay.hold", times=(time.time() + 100, time.time() + 100))
    for truth in recorder.truths[4:8]:
        recorder.commit(truth)
    recorder.writer.compact()
    first = [int(dataset[i]["episode_index"]) for i in range(len(dataset))]
    assert sorted(set(first)) == [0, 1, 2, 3]
    (tmp_path / "replay.hold").unlink()
    recorder.commit(recorder.truths[8])
    assert len(list(recorder.folder.rglob("*.mp4"))) < 9
    with pytest.raises(FileNotFoundError, match=r"file-000\.mp4"):
        dataset[0]


def test_without_inotify_nobody_is_waited_for(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(readers, "QUIET_S", 1000.0)
    monkeypatch.setattr(readers, "_LIBC", type("NoKernel", (), {"inotify_init1": lambda flags: -1}))
    (tmp_path / "meta").mkdir()
    (tmp_path / "meta" / "info.json").write_text("{}")
    watch = ReaderWatch(tmp_path)
    (tmp_path / "meta" / "info.json").read_text()
    assert not watch.busy()
