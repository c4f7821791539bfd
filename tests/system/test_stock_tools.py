"""LeRobot's own programs on a replay, while it grows and after."""

import contextlib
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from learner.replay.dataset.store import LeRobotStore
from learner.replay.tools.merge import Selection, export
from learner.replay.tools.verify import verify
from tests.support.identifiable import ACT, OBS, make_stream, pack

REPO = "tests/replay"
STATE = 3


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, repository: Path) -> dict[str, str]:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    words = {"HF_HOME": str(tmp_path / "hf"), "PYTHONPATH": str(repository), "WANDB_MODE": "disabled"}
    return {**os.environ, **words, "OMP_NUM_THREADS": "1"}


def open_store(folder: Path, flush_s: float = 0.01) -> LeRobotStore:
    return LeRobotStore(
        folder, repo_id=REPO, observation_dim=OBS, action_dim=ACT, fps=20, robot_type="panda",
        task="PickCube-v1", queue_episodes=8, flush_s=flush_s, state_dim=STATE,
    )  # fmt: skip


def lerobot(program: str, *words: str, environment: dict[str, str]) -> str:
    """What a program of LeRobot said."""
    ended = subprocess.run(
        [str(Path(sys.executable).with_name(program)), *words],
        env=environment,
        capture_output=True,
        text=True,
    )
    assert ended.returncode == 0, ended.stderr[-3000:]
    return ended.stdout + ended.stderr


@pytest.mark.slow
def test_loader_reads_whole_histories_while_the_replay_grows(
    environment: dict[str, str], tmp_path: Path
) -> None:
    import torch
    from lerobot.datasets.lerobot_dataset import LeRobotDataset

    truths, _ = make_stream("peg", 0, [7] * 200, sub_envs=1)
    deltas = {"observation.state": [-0.05, 0.0], "action": [0.0, 0.05, 0.1]}
    seen: list[int] = []
    with open_store(tmp_path / "replay") as store:

        def feed(upto: int) -> None:
            for truth in truths[store.episodes : upto]:
                store.add("peg", 0, pack(truth.rows))

        def wait_for(episodes: int) -> None:
            while store.episodes < episodes:
                store.raise_if_failed()
                time.sleep(0.001)

        feed(5)
        wait_for(5)
        for upto in (20, 40):
            # Opened before and read after others were committed.
            dataset = LeRobotDataset(REPO, root=tmp_path / "replay", delta_timestamps=deltas)
            feeder = threading.Thread(target=feed, args=(upto,))
            feeder.start()
            for batch in torch.utils.data.DataLoader(dataset, batch_size=64):
                now, before = batch["observation.state"][:, 1, 0], batch["observation.state"][:, 0, 0]
                assert torch.equal(now - before, (~batch["observation.state_is_pad"][:, 0]).float())
                ahead = batch["action"][:, 2, 0] - batch["action"][:, 0, 0]
                assert torch.equal(ahead, (~batch["action_is_pad"]).sum(1) - 1.0)
            seen.append(len(dataset))
            feeder.join()
            wait_for(upto)
    assert seen[0] >= 5 * 7 and seen[1] == 20 * 7


def test_loader_opens_a_replay_between_any_two_of_its_commits(
    environment: dict[str, str], tmp_path: Path
) -> None:
    from lerobot.datasets.lerobot_dataset import LeRobotDataset

    truths, _ = make_stream("peg", 0, [3] * 40, sub_envs=1)
    with open_store(tmp_path / "replay", flush_s=1e-6) as store:
        store.add("peg", 0, pack(truths[0].rows))
        while not store.episodes:
            store.raise_if_failed()
            time.sleep(0.001)

        def feed() -> None:
            for truth in truths[1:]:
                store.add("peg", 0, pack(truth.rows))
                # A commit every few hundredths of a second, hundreds of times the usual pace.
                time.sleep(0.05)

        feeder = threading.Thread(target=feed)
        feeder.start()
        opened: list[int] = []
        while feeder.is_alive():
            dataset = LeRobotDataset(REPO, root=tmp_path / "replay", delta_timestamps={"action": [0.0, 0.05]})
            padded = [bool(dataset[i]["action_is_pad"][1]) for i in range(len(dataset))]
            assert padded == [False, False, True] * dataset.num_episodes
            opened.append(dataset.num_episodes)
        feeder.join()
    assert opened == sorted(opened) and opened[0] < 40


@pytest.fixture
def replay(tmp_path: Path) -> Path:
    """Twelve episodes of 12 to 23 frames, in several files."""
    truths, _ = make_stream("peg", 0, [12 + n for n in range(12)], sub_envs=1)
    with open_store(tmp_path / "replay") as store:
        for truth in truths:
            store.add("peg", 0, pack(truth.rows))
    return tmp_path / "replay"


def test_observation_is_the_robot_s_part_and_the_environment_s(replay: Path) -> None:
    info = json.loads((replay / "meta/info.json").read_text())
    shapes = {name: feature["shape"] for name, feature in info["features"].items()}
    assert shapes["observation.state"] == [STATE]
    assert shapes["observation.environment_state"] == [OBS - STATE]


@contextlib.contextmanager
def growing(folder: Path) -> Iterator[None]:
    """A replay of twelve episodes like `replay`, which goes on getting one more every tenth of a second."""
    truths, _ = make_stream("peg", 0, [12 + n for n in range(12)], sub_envs=1)
    left = threading.Event()

    def feed(store: LeRobotStore) -> None:
        session = 1
        while not left.wait(0.1):
            store.add("peg", session, pack(truths[0].rows))
            session += 1

    with open_store(folder) as store:
        for truth in truths:
            store.add("peg", 0, pack(truth.rows))
        while store.episodes < len(truths):
            store.raise_if_failed()
            time.sleep(0.001)
        feeder = threading.Thread(target=feed, args=(store,))
        feeder.start()
        try:
            yield
        finally:
            left.set()
            feeder.join()
        assert store.episodes > len(truths)


def delete_second_episode(copy: Path, environment: dict[str, str]) -> list[float]:
    """The first number of every episode that lerobot-edit-dataset leaves of a copy."""
    from lerobot.datasets.lerobot_dataset import LeRobotDataset

    lerobot(
        "lerobot-edit-dataset", "--repo_id", REPO, "--root", str(copy), "--new_repo_id", "less",
        "--new_root", str(copy / "less"), "--operation.type", "delete_episodes",
        "--operation.episode_indices", "[1]",
        environment=environment,
    )  # fmt: skip
    dataset = LeRobotDataset("less", root=copy / "less")
    starts = [row["dataset_from_index"] for row in dataset.meta.episodes]
    assert len(starts) == dataset.num_episodes
    assert verify(copy / "less") == []
    return [float(dataset[start]["observation.state"][0]) for start in starts]


@pytest.mark.slow
def test_edit_dataset_deletes_an_episode_from_a_copy(
    replay: Path, environment: dict[str, str], tmp_path: Path
) -> None:
    shutil.copytree(replay, tmp_path / "copy")
    first = delete_second_episode(tmp_path / "copy", environment)
    assert first == [1000.0 * n for n in range(12) if n != 1]
    assert verify(replay) == []


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_edit_dataset_deletes_an_episode_from_a_copy_of_one_that_grows(
    environment: dict[str, str], tmp_path: Path
) -> None:
    with growing(tmp_path / "replay"):
        copied = export(tmp_path / "replay", tmp_path / "copy", Selection()).episodes
        first = delete_second_episode(tmp_path / "copy", environment)
    assert copied >= 12
    assert first == [1000.0 * n for n in range(12) if n != 1] + [0.0] * (copied - 12)


def test_visualiser_reads_it_while_it_grows(environment: dict[str, str], tmp_path: Path) -> None:
    truths, rows = make_stream("peg", 0, [9, 8, 7], sub_envs=1)
    with open_store(tmp_path / "replay") as store:
        for truth in truths:
            store.add("peg", 0, pack(truth.rows))
        # Half of another: the writer is at work.
        store.add("peg", 1, pack(rows[:2]))
        while store.episodes < 3:
            store.raise_if_failed()
        lerobot(
            "lerobot-dataset-viz", "--repo-id", REPO, "--root", str(tmp_path / "replay"),
            "--episode-index", "1", "--save", "1", "--output-dir", str(tmp_path / "out"),
            "--num-workers", "0",
            environment=environment,
        )  # fmt: skip
    assert (tmp_path / "out/tests_replay_episode_1.rrd").stat().st_size > 1000


def train_act(replay: Path, out: Path, environment: dict[str, str]) -> int:
    """Bytes of the weights after twenty steps of lerobot-train."""
    lerobot(
        "lerobot-train", "--dataset.repo_id", REPO, "--dataset.root", str(replay), "--policy.type", "act",
        "--policy.device", "cpu", "--policy.push_to_hub", "false", "--policy.chunk_size", "8",
        "--policy.n_action_steps", "8", "--policy.dim_model", "64", "--policy.dim_feedforward", "128",
        "--steps", "20", "--batch_size", "8", "--num_workers", "0", "--log_freq", "5", "--save_freq", "20",
        "--output_dir", str(out), "--wandb.enable", "false",
        environment=environment,
    )  # fmt: skip
    return (out / "checkpoints/000020/pretrained_model/model.safetensors").stat().st_size


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_act_trains_on_it(replay: Path, environment: dict[str, str], tmp_path: Path) -> None:
    assert train_act(replay, tmp_path / "out", environment) > 10_000


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_act_trains_on_it_while_it_grows(environment: dict[str, str], tmp_path: Path) -> None:
    with growing(tmp_path / "replay"):
        assert train_act(tmp_path / "replay", tmp_path / "out", environment) > 10_000
