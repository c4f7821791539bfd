"""The replay on disk, read back with LeRobot's own readers."""

import json
import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from learner.replay.dataset.assembler import EpisodeAssembler
from learner.replay.dataset.format.spec import DatasetError
from learner.replay.dataset.format.statistics import MergedStatistics, describe
from learner.replay.dataset.read import read_info
from learner.replay.dataset.store import LeRobotStore
from tests.support.fakes import CountingBase, ScriptedEnvironment
from tests.support.helpers import collect, make_config, make_policy, make_rollout
from tests.support.identifiable import ACT, OBS, K, Truth, in_messages, make_stream, pack

REPO = "tests/replay"


@pytest.fixture(autouse=True)
def no_hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")


def wait_for(fact: Callable[[], bool], what: str, timeout_s: float = 20.0) -> None:
    end = time.monotonic() + timeout_s
    while not fact():
        assert time.monotonic() < end, f"no {what} within {timeout_s} s"
        time.sleep(0.002)


@pytest.fixture
def make_store(tmp_path: Path) -> Callable[..., LeRobotStore]:
    def make(folder: Path = tmp_path / "replay", **overrides: Any) -> LeRobotStore:
        settings: dict[str, Any] = {
            "repo_id": REPO, "observation_dim": OBS, "action_dim": ACT, "fps": 20, "robot_type": "panda",
            "task": "PickCube-v1", "queue_episodes": 16, "flush_s": 3600.0,
        }  # fmt: skip
        return LeRobotStore(folder, **(settings | overrides))

    return make


def load(folder: Path, **options: Any) -> Any:
    from lerobot.datasets.lerobot_dataset import LeRobotDataset

    return LeRobotDataset(REPO, root=folder, **options)


def assert_same(dataset: Any, truths: list[Truth], actors: list[str]) -> None:
    assert dataset.num_episodes == len(truths)
    assert len(dataset) == sum(truth.length for truth in truths)
    rows = dataset.hf_dataset.with_format("numpy")[:]
    assert np.array_equal(rows["index"], np.arange(len(dataset)))
    for index, truth in enumerate(truths):
        meta = dataset.meta.episodes[index]
        assert (meta["episode_index"], meta["length"], meta["tasks"]) == (
            index,
            truth.length,
            ["PickCube-v1"],
        )
        part = slice(meta["dataset_from_index"], meta["dataset_to_index"])
        seen = {name: np.asarray(column[part]) for name, column in rows.items()}
        frame, last = np.arange(truth.length), np.arange(truth.length) == truth.length - 1
        expected = {
            "observation.state": truth.frames["observation"],
            "action": truth.frames["action"],
            "base_action": truth.frames["base_plan"],
            "residual": truth.frames["residual"],
            "next.reward": truth.frames["reward"],
            "next.success": truth.frames["success"],
            "next.done": last,
            "next.truncated": last & (not truth.terminated),
            "decision_start": frame % K == 0,
            "weights_version": 7 * truth.number + frame // K,
            "actor": np.full(truth.length, actors.index(truth.actor_id)),
            "sub_env": np.full(truth.length, truth.sub_env),
            "frame_index": frame,
            "episode_index": np.full(truth.length, index),
            "timestamp": (frame / 20).astype(np.float32),
            "task_index": np.zeros(truth.length),
        }
        assert set(seen) == {*expected, "index"}
        for name, values in expected.items():
            np.testing.assert_array_equal(seen[name], values, err_msg=f"{name} of episode {index}")


def test_dataset_says_what_interleaved_actors_saw(
    make_store: Callable[..., LeRobotStore], tmp_path: Path
) -> None:
    first, rows_a = make_stream("peg-a", 0, [9, 4, 1, 13, 8, 6, 2], sub_envs=3)
    second, rows_b = make_stream("peg-b", 50, [5, 12, 3, 4], sub_envs=2)
    messages = [("peg-a", m) for m in in_messages(rows_a, 5)] + [("peg-b", m) for m in in_messages(rows_b, 3)]
    with make_store() as store:
        for actor_id, columns in messages:
            store.add(actor_id, 0, columns)
    assert (store.episodes, store.pending, store.dropped) == (11, 0, 0)
    assert store.frames == sum(truth.length for truth in first + second)
    folder = tmp_path / "replay"
    assert json.loads((folder / "meta/residual_rl.json").read_text())["actors"] == ["peg-a", "peg-b"]
    assert_same(load(folder), first + second, ["peg-a", "peg-b"])
    assert not list(folder.rglob("*.tmp"))


def test_every_flush_leaves_a_dataset_that_opens(
    make_store: Callable[..., LeRobotStore], tmp_path: Path
) -> None:
    truths, rows = make_stream("peg", 0, [6, 3, 5, 9, 4, 7], sub_envs=1)
    with make_store(flush_s=0.01) as store:
        for done, truth in enumerate(truths, start=1):
            store.add("peg", 0, pack(truth.rows))
            wait_for(lambda done=done: store.episodes == done, "commit")
            if done in (1, 4):
                # The writer is in the middle of its next shard.
                half = pack(rows[:1])
                store.add("other", 0, half)
                assert_same(load(tmp_path / "replay"), truths[:done], ["peg"])
    assert len(list((tmp_path / "replay/data").rglob("*.parquet"))) == 1
    assert_same(load(tmp_path / "replay"), truths, ["peg"])


def test_episode_is_one_row_group(make_store: Callable[..., LeRobotStore], tmp_path: Path) -> None:
    truths, rows = make_stream("peg", 0, [6, 3, 5], sub_envs=3)
    with make_store() as store:
        store.add("peg", 0, pack(rows))
    data = pq.ParquetFile(tmp_path / "replay/data/chunk-000/file-000.parquet").metadata
    assert [data.row_group(i).num_rows for i in range(data.num_row_groups)] == [t.length for t in truths]


def test_reader_pads_histories_at_the_borders_of_episodes(
    make_store: Callable[..., LeRobotStore], tmp_path: Path
) -> None:
    truths, rows = make_stream("peg", 0, [6, 5], sub_envs=1)
    with make_store() as store:
        store.add("peg", 0, pack(rows))
    deltas = {"observation.state": [-0.05, 0.0], "action": [0.0, 0.05, 0.10]}
    dataset = load(tmp_path / "replay", delta_timestamps=deltas)
    item = dataset[6]
    assert item["observation.state"][:, 0].tolist() == [1000.0, 1000.0]
    assert item["observation.state_is_pad"].tolist() == [True, False]
    assert item["action"].tolist() == truths[1].frames["action"][:3].tolist()
    assert dataset[5]["action_is_pad"].tolist() == [False, True, True]
    assert item["task"] == "PickCube-v1"
    only = load(tmp_path / "replay", episodes=[1], delta_timestamps=deltas)
    assert len(only) == 5
    assert only[0]["observation.state"][:, 0].tolist() == [1000.0, 1000.0]


def test_ends_survive_beside_the_dataset(make_store: Callable[..., LeRobotStore], tmp_path: Path) -> None:
    truths, rows = make_stream("peg", 0, [6, 3], sub_envs=2)
    with make_store() as store:
        store.add("peg", 0, pack(rows))
    ends = pq.read_table(tmp_path / "replay/sidecar/chunk-000/file-000.parquet").to_pydict()
    assert ends["episode_index"] == [0, 1]
    assert ends["final_observation"] == [truth.final.tolist() for truth in truths if truth.final is not None]
    assert ends["terminated"] == [truth.terminated for truth in truths]
    assert ends["final_base_plan"] == [[3.0] * (K * ACT)] * 2
    assert ends["last_residual"] == [truth.rows[-1]["residual"].ravel().tolist() for truth in truths]


def test_statistics_are_those_of_all_frames(make_store: Callable[..., LeRobotStore], tmp_path: Path) -> None:
    truths, rows = make_stream("peg", 0, [6, 3, 5, 1], sub_envs=1)
    with make_store(flush_s=0.01) as store:
        for truth in truths:
            store.add("peg", 0, pack(truth.rows))
            wait_for(lambda: store.pending == 0, "writer")
    stats = load(tmp_path / "replay").meta.stats
    frames = np.concatenate([truth.frames["observation"] for truth in truths]).astype(np.float64)
    state = stats["observation.state"]
    for name in ("min", "max", "mean", "std"):
        np.testing.assert_allclose(state[name], getattr(frames, name)(0), rtol=1e-9)
    assert state["count"].tolist() == [15]
    assert {"q01", "q10", "q50", "q90", "q99"} < state.keys()
    assert set(stats) == set(json.loads((tmp_path / "replay/meta/info.json").read_text())["features"])


def test_statistics_agree_with_those_of_lerobot() -> None:
    from lerobot.datasets.compute_stats import aggregate_stats, compute_episode_stats

    rng = np.random.default_rng(0)
    episodes = [rng.normal(size=(length, 4)) for length in (40, 100, 7)]
    first = describe(np.concatenate(episodes[:2]), np.array([40, 100]))
    ours = MergedStatistics().plus(first, np.array([40, 100]))
    ours = ours.plus(describe(episodes[2], np.array([7])), np.array([7]))
    seen = ours.as_json({"x": slice(0, 4)})["x"]
    feature = {"x": {"dtype": "float32", "shape": (4,)}}
    theirs = aggregate_stats([compute_episode_stats({"x": e}, feature) for e in episodes])["x"]
    for name, value in theirs.items():
        # LeRobot takes its quantiles from a histogram.
        np.testing.assert_allclose(seen[name], value, atol=0.01 if name.startswith("q") else 1e-9)


def test_episode_with_a_hole_is_dropped_and_the_next_is_whole(caplog: pytest.LogCaptureFixture) -> None:
    whole, rows = make_stream("peg", 0, [9, 13, 5], sub_envs=1)
    assembler = EpisodeAssembler()
    with caplog.at_level(logging.WARNING):
        ended = [
            e
            for row in rows
            if row["weights_version"] != 8
            for e in assembler.add("peg", 0, [(pack([row]), 0)])
        ]
    assert [len(e) for e in ended] == [9, 5]
    assert ended[1].values[0, 0] == 2000
    assert (assembler.dropped, assembler.unfinished) == (1, 0)
    assert "dropped episode 1 of ('peg', 0, 0): a gap before decision 2" in caplog.text
    assert len(caplog.records) == 1


def test_what_comes_again_is_passed_over_in_silence(caplog: pytest.LogCaptureFixture) -> None:
    truths, rows = make_stream("peg", 0, [9, 13, 5], sub_envs=1)
    assembler = EpisodeAssembler()
    seen = []
    for upto in range(1, len(rows) + 1):
        seen += assembler.add("peg", 0, [(pack(rows[max(0, upto - 3) : upto]), 0)])
        seen += assembler.add("peg", 0, [(pack(rows[:upto]), 0)])
    assert [e.identity for e in seen] == [("peg", 0, 0, 0), ("peg", 0, 0, 1), ("peg", 0, 0, 2)]
    for episode, truth in zip(seen, truths, strict=True):
        np.testing.assert_array_equal(episode.values[:, :OBS], truth.frames["observation"])
    assert assembler.dropped == 0 and not caplog.records


def test_restarted_actor_is_another_session() -> None:
    _, rows = make_stream("peg", 0, [9], sub_envs=1)
    assembler = EpisodeAssembler()
    assert assembler.add("peg", 1, [(pack(rows[:2]), 0)]) == []
    (episode,) = assembler.add("peg", 2, [(pack(rows), 0)])
    (cut,) = assembler.end_session("peg", 1)
    assert (len(episode), episode.truncated, episode.final_known) == (9, False, True)
    assert (len(cut), cut.truncated, cut.terminated, cut.final_known) == (8, True, False, False)
    assert (assembler.dropped, assembler.unfinished) == (0, 0)
    assert assembler.add("peg", 1, [(pack(rows), 0)]) == []


def test_unfinished_episodes_are_left_out_and_told(
    make_store: Callable[..., LeRobotStore], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    truths, rows = make_stream("peg", 0, [4, 9], sub_envs=1)
    with caplog.at_level(logging.INFO), make_store() as store:
        store.add("peg", 0, pack(rows[:-1]))
    assert_same(load(tmp_path / "replay"), truths[:1], ["peg"])
    assert "left out: 1 unfinished" in caplog.text


def test_run_without_an_episode_leaves_no_folder(
    make_store: Callable[..., LeRobotStore], tmp_path: Path
) -> None:
    with make_store() as store:
        store.add("peg", 0, pack(make_stream("peg", 0, [9], sub_envs=1)[1][:2]))
    store.close()
    assert (store.episodes, store.frames) == (0, 0)
    assert not (tmp_path / "replay").exists()


def test_crash_between_flushes_loses_only_the_open_shard(
    make_store: Callable[..., LeRobotStore], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    truths, _ = make_stream("peg", 0, [6, 3], sub_envs=1)
    store = make_store(flush_s=0.01)
    store.add("peg", 0, pack(truths[0].rows))
    wait_for(lambda: store.episodes == 1, "commit")

    def full(*_: Any, **__: Any) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr("learner.replay.dataset.writer.episodes_table", full)
    store.add("peg", 0, pack(truths[1].rows))
    wait_for(lambda: store._error is not None, "failure")
    with pytest.raises(RuntimeError, match="No space left on device"):
        store.raise_if_failed()
    with pytest.raises(RuntimeError, match="No space left on device"):
        store.add("peg", 0, pack(truths[0].rows))
    with pytest.raises(RuntimeError, match="No space left on device"):
        store.close()
    dataset = load(tmp_path / "replay")
    assert (dataset.num_episodes, len(dataset)) == (1, 6)
    assert dataset[5]["observation.state"][0] == 5


def test_intake_waits_for_a_writer_that_is_behind(
    make_store: Callable[..., LeRobotStore], monkeypatch: pytest.MonkeyPatch
) -> None:
    truths, _ = make_stream("peg", 0, [2, 2, 2], sub_envs=1)
    goes_on = threading.Event()
    real = EpisodeAssembler.add
    monkeypatch.setattr(EpisodeAssembler, "add", lambda self, *a: (goes_on.wait(20), real(self, *a))[1])
    store = make_store(queue_episodes=2)
    store.add("peg", 0, pack(truths[0].rows))
    store.add("peg", 0, pack(truths[1].rows))
    third = threading.Thread(target=store.add, args=("peg", 0, pack(truths[2].rows)))
    third.start()
    third.join(0.2)
    assert third.is_alive()
    assert store.pending == 2
    goes_on.set()
    third.join(20)
    store.close()
    assert store.episodes == 3


def test_store_goes_on_with_what_is_there(make_store: Callable[..., LeRobotStore], tmp_path: Path) -> None:
    truths, rows = make_stream("peg", 0, [6, 3, 5, 9, 4, 7], sub_envs=1)
    for upto in (3, 6):
        with make_store() as store:
            assert store.episodes == upto - 3
            for truth in truths[:upto]:
                store.add("peg", 0, pack(truth.rows))
            store.add("other", 0, pack(rows[:1]))
        assert store.committed() == {("peg", 0, 0): upto}
        assert_same(load(tmp_path / "replay"), truths[:upto], ["peg"])
    state = load(tmp_path / "replay").meta.stats["observation.state"]
    frames = np.concatenate([truth.frames["observation"] for truth in truths]).astype(np.float64)
    np.testing.assert_allclose(state["std"], frames.std(0), rtol=1e-9)


def test_who_waits_for_the_end_does_not_wait_for_files_to_be_joined(
    make_store: Callable[..., LeRobotStore], tmp_path: Path
) -> None:
    truths, _ = make_stream("peg", 0, [6, 3, 5], sub_envs=1)
    store = make_store(flush_s=0.01)
    for number, truth in enumerate(truths, start=1):
        store.add("peg", 0, pack(truth.rows))
        wait_for(lambda number=number: store.episodes == number, "commit")
    store.close(compact=False)
    assert len(list((tmp_path / "replay/data").rglob("*.parquet"))) == 3
    assert_same(load(tmp_path / "replay"), truths, ["peg"])
    make_store().close()
    assert len(list((tmp_path / "replay/data").rglob("*.parquet"))) == 1


def test_episodes_are_committed_when_committed_says_so(
    make_store: Callable[..., LeRobotStore], tmp_path: Path
) -> None:
    truths, _ = make_stream("peg", 0, [6, 3, 5, 9, 4, 7, 8, 2], sub_envs=2)
    truths.sort(key=lambda truth: truth.number)
    with make_store(flush_s=0.01) as store:
        for number, truth in enumerate(truths, start=1):
            store.add("peg", 5, pack(truth.rows))
            wait_for(lambda number=number: sum(store.committed().values()) == number, "commit")
            assert read_info(tmp_path / "replay")["total_episodes"] == number
    assert store.committed() == {("peg", 5, 0): 4, ("peg", 5, 1): 4}


def test_session_that_is_over_leaves_truncated_episodes(
    make_store: Callable[..., LeRobotStore], tmp_path: Path
) -> None:
    truths, rows = make_stream("peg", 0, [9, 13], sub_envs=2)
    with make_store() as store:
        store.add("peg", 3, pack(rows[:4]))
        store.add("peg", 4, pack(rows))
        store.end_session("peg", 3)
        store.add("peg", 3, pack(rows))
    sidecar = pq.read_table(tmp_path / "replay/sidecar/chunk-000/file-000.parquet").to_pydict()
    assert sidecar["session"] == [4, 4, 3, 3]
    assert sidecar["final_known"] == [True, True, False, False]
    assert sidecar["truncated"] == [False, True, True, True]
    seen = load(tmp_path / "replay").hf_dataset.with_format("numpy")[:]
    assert seen["next.truncated"][22:].tolist() == ([False] * 7 + [True]) * 2
    assert store.committed()["peg", 3, 1] == 1


def test_another_folder_is_refused_with_what_differs(
    make_store: Callable[..., LeRobotStore], tmp_path: Path
) -> None:
    with make_store() as store:
        store.add("peg", 0, pack(make_stream("peg", 0, [2], sub_envs=1)[1]))
    folder = tmp_path / "replay"
    with pytest.raises(DatasetError, match="holds a replay with fps 20, not 30"):
        make_store(fps=30)
    with pytest.raises(DatasetError, match="holds a replay with observation_dim 5, not 6"):
        make_store(observation_dim=6)
    info = read_info(folder)
    for change, said in (
        ({"codebase_version": "v2.1"}, "has LeRobot's format v2.1, not v3.0: convert it with python -m"),
        ({"features": {k: v for k, v in info["features"].items() if k != "residual"}}, "columns residual"),
    ):
        (folder / "meta/info.json").write_text(json.dumps(info | change))
        with pytest.raises(DatasetError, match=said):
            make_store()
    (folder / "meta/info.json").write_text(json.dumps(info))
    (folder / "meta/residual_rl.json").unlink()
    with pytest.raises(DatasetError, match="was not written by this replay"):
        make_store()
    (tmp_path / "other").mkdir()
    (tmp_path / "other/thesis.txt").write_text("mine")
    with pytest.raises(DatasetError, match="is no LeRobot dataset"):
        make_store(tmp_path / "other")
    assert (tmp_path / "other/thesis.txt").read_text() == "mine"


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("fps", 0, "fps must be at least 1, got 0"),
        ("observation_dim", 0, "observation_dim must be at least 1"),
        ("repo_id", "a b", "repo_id must be name or owner/name, got 'a b'"),
        ("task", "", "task must say something"),
        ("queue_episodes", 0, "queue_episodes must be at least 1"),
        ("flush_s", 0.0, "flush_s must be above 0"),
    ],
)
def test_unusable_argument_is_named(
    key: str, value: Any, said: str, make_store: Callable[..., LeRobotStore]
) -> None:
    with pytest.raises(ValueError, match=said):
        make_store(**{key: value})


def test_foreign_columns_are_refused_before_they_are_queued(make_store: Callable[..., LeRobotStore]) -> None:
    columns = pack(make_stream("peg", 0, [6], sub_envs=1)[1])
    with make_store() as store:
        with pytest.raises(ValueError, match=r"action must have shape \(2, 4, 3\), got \(2, 4, 2\)"):
            store.add("peg", 0, columns | {"action": columns["action"][..., :2]})
        with pytest.raises(ValueError, match="columns lack reward"):
            store.add("peg", 0, {name: column for name, column in columns.items() if name != "reward"})
        with pytest.raises(ValueError, match="final_row must name the rows"):
            store.add("peg", 0, columns | {"final_row": np.array([0], np.int32)})
        store.add("peg", 0, columns)
    assert store.episodes == 1
    with pytest.raises(RuntimeError, match="is closed"):
        store.add("peg", 0, columns)


@pytest.mark.parametrize("every", [1, 2, 4])
def test_episodes_of_a_rollout_are_those_that_lerobot_reads(
    every: int, make_store: Callable[..., LeRobotStore], tmp_path: Path
) -> None:
    base = CountingBase()
    policy = make_policy(base, make_config(f"algo.residual_every={every}"), 3, every)
    rollout = make_rollout(ScriptedEnvironment([[7, 3], [5], [1, 9]], "terminated"), policy, every)
    with make_store(observation_dim=3, action_dim=2) as store:
        for _ in range(6):
            store.add("peg", 0, collect(rollout, 5))
    rows = load(tmp_path / "replay").hf_dataset.with_format("numpy")[:]
    lengths = {0: [7, 3], 1: [5], 2: [1, 9]}
    starts = np.flatnonzero(rows["frame_index"] == 0)
    assert len(starts) == store.episodes == 18
    for first, stop in zip(starts, [*starts[1:], store.frames], strict=True):
        state, env = rows["observation.state"][first:stop], rows["sub_env"][first]
        number = int(state[0, 0]) // 100 - 1
        frames = np.arange(lengths[env][number % len(lengths[env])])
        assert state[:, 0].tolist() == (100 * (number + 1) + frames).tolist()
        assert (state[:, 1] == env).all()
        assert rows["next.reward"][first:stop].tolist() == frames.tolist()
        assert rows["next.done"][first:stop].tolist() == (frames == frames[-1]).tolist()
        assert rows["decision_start"][first:stop].tolist() == (frames % every == 0).tolist()
        assert not rows["next.truncated"][first:stop].any()
