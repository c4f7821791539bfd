"""A person at a pseudo-terminal takes over an actor of a run: a real learner and real simulators."""

import fcntl
import os
import pty
import signal
import subprocess
import sys
import termios
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from learner.replay.dataset.arrow import read_parquet
from learner.replay.dataset.format.layout import parquet_files
from tests.support.runs import points, wait_for

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]


@contextmanager
def started(repository: Path, *words: str, terminal: int | None = None) -> Iterator[subprocess.Popen[str]]:
    """A verb in a session of its own, with a terminal if one is given."""

    def own_terminal() -> None:
        if terminal is not None:
            fcntl.ioctl(terminal, termios.TIOCSCTTY, 0)

    process = subprocess.Popen(
        [sys.executable, "-m", "launch", *words],
        cwd=repository, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True,
        preexec_fn=own_terminal, pass_fds=[] if terminal is None else [terminal],
    )  # fmt: skip
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def typing(master: int, keys: str, until: threading.Event) -> None:
    """Press these keys again and again."""
    while not until.wait(0.2):
        os.write(master, keys.encode())
        os.set_blocking(master, False)
        with suppress(BlockingIOError):
            os.read(master, 65536)


def test_a_person_takes_over_marks_episodes_and_the_learner_keeps_it(
    tmp_path: Path, free_ports: tuple[int, int], repository: Path
) -> None:
    ports = [f"wire.experience_port={free_ports[0]}", f"wire.weights_port={free_ports[1]}"]
    settings = [
        "name=by-hand", f"runs_dir={tmp_path}", "tracking=[]", "learner.log_every_s=0.5",
        "learner.demos=null", "algo.prior_fraction=0", "learner.interventions=true",
        "learner.store_flush_s=0.5", *ports,
    ]  # fmt: skip
    person = [
        f"tcp://127.0.0.1:{free_ports[0]}", ports[1], "actor.intervene=keyboard", "actor.num_envs=1",
        "actor.pictures=null", "actor.spool=null", "actor.rows_per_batch=1",
    ]  # fmt: skip
    master, slave = pty.openpty()
    enough, folder = threading.Event(), tmp_path / "by-hand"
    with (
        started(repository, "learner", *settings) as learner,
        started(repository, "actor", *person, terminal=slave) as actor,
    ):
        # Moves, and calls the episode a success, some frames later.
        hands = threading.Thread(target=typing, args=(master, "wd", enough), daemon=True)
        hands.start()
        marks = threading.Thread(target=marking, args=(master, enough), daemon=True)
        marks.start()

        def marked() -> bool:
            newest = points(folder)[-1:]
            return any(each.get("episodes", 0) >= 3 for each in newest)

        # In steps, each of which may take as long as a busy machine needs.
        wait_for(lambda: points(folder), learner, actor)
        wait_for(lambda: points(folder)[-1]["frames"] > 0, learner, actor)
        wait_for(marked, learner, actor)
        enough.set()
        assert points(folder)[-1]["intervention_share"] > 0.5
        wait_for(lambda: len(list((folder / "replay").glob("data/*/*.parquet"))), learner, actor)
        actor.send_signal(signal.SIGINT)
        said, _ = actor.communicate(timeout=60)
        assert actor.returncode == 0, said
    frames = read_parquet(parquet_files(folder / "replay" / "data")[0])
    assert any(frames["is_intervention"].to_pylist())
    ends = [at for at, done in enumerate(frames["next.done"].to_pylist()) if done]
    assert all(frames["next.success"][at].as_py() for at in ends)
    assert not any(frames["next.truncated"][at].as_py() for at in ends)


def marking(master: int, until: threading.Event) -> None:
    while not until.wait(1.5):
        os.write(master, b"\r")


def test_what_is_scripted_for_the_task_plays_whole_episodes(
    tmp_path: Path, free_ports: tuple[int, int], repository: Path
) -> None:
    """A base that does nothing never succeeds: the successes are the script's."""
    words = [
        "name=scripted", f"runs_dir={tmp_path}", "tracking=[]", "page.port=null", "base=zero", "algo=collect",
        "algo.episodes=24", "actor.intervene=expert", "actor.expert.probability=0.5",
        f"wire.experience_port={free_ports[0]}", f"wire.weights_port={free_ports[1]}",
    ]  # fmt: skip
    subprocess.run([sys.executable, "-m", "launch", "run", *words], cwd=repository, check=True, timeout=300)
    files = parquet_files(tmp_path / "scripted" / "replay" / "data")
    columns = ("episode_index", "is_intervention", "next.success")
    rows = [row for file in files for row in read_parquet(file).select(columns).to_pylist()]
    episodes: dict[int, list[dict]] = {}
    for row in rows:
        episodes.setdefault(row["episode_index"], []).append(row)
    scripted = {index for index, frames in episodes.items() if all(row["is_intervention"] for row in frames)}
    assert {row["episode_index"] for row in rows if row["is_intervention"]} == scripted
    assert 6 <= len(scripted) <= 18 and len(episodes) == 24
    succeeded = {row["episode_index"] for row in rows if row["next.success"]}
    assert succeeded <= scripted and len(succeeded) >= len(scripted) - 1
