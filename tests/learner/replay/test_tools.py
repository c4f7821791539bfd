"""residual-rl replay: what is wrong is said, what is whole is kept."""

import contextlib
import json
import re
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pyarrow.dataset as pads
import pyarrow.parquet as pq
import pytest

from launch.show.viz import read_replay
from learner.folder import sole_learner
from learner.replay.dataset.arrow import with_column
from learner.replay.dataset.assembler import EpisodeAssembler
from learner.replay.dataset.compaction import Budget
from learner.replay.dataset.format.spec import DatasetError, DatasetSpec
from learner.replay.dataset.store import LeRobotStore
from learner.replay.dataset.writer import LeRobotWriter
from learner.replay.prior.demonstration import Demonstration
from learner.replay.prior.lerobot import write_lerobot
from learner.replay.prior.read import read_demonstrations
from learner.replay.tools.merge import Selection, export, merge
from learner.replay.tools.repair import repair
from learner.replay.tools.verify import verify
from tests.support.identifiable import ACT, OBS, K, Truth, make_stream, pack
from tests.support.program import residual_rl

LENGTHS = [6, 3, 5, 9, 4]


@pytest.fixture(autouse=True)
def no_hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")


def make_replay(
    folder: Path, actor: str = "peg", first: int = 0, budget: Budget | None = None, **spec: object
) -> list[Truth]:
    """Five episodes, 0, 2 and 4 of them terminated, a shard each."""
    truths, _ = make_stream(actor, first, LENGTHS, sub_envs=1)
    kind = {"repo_id": "tests/replay", "observation_dim": OBS, "action_dim": ACT, "fps": 20}
    kind |= {"robot_type": "panda", "task": "PickCube-v1"}
    writer, assembler = LeRobotWriter(folder, DatasetSpec(**(kind | spec)), budget), EpisodeAssembler()
    position = 0
    for truth in truths:
        columns = pack(truth.rows)
        writer.append(assembler.add(actor, 7, [(columns, position)]))
        position += len(truth.rows) + 1
        writer.commit()
    return truths


def first_numbers(folder: Path) -> list[float]:
    """The first observation number of every frame, in order."""
    table = pq.read_table(sorted((folder / "data").rglob("*.parquet")), columns=["observation.state"])
    return [row[0] for row in table["observation.state"].to_pylist()]


def numbers_of(truths: list[Truth]) -> list[float]:
    return [float(x) for truth in truths for x in truth.frames["observation"][:, 0]]


def open_with_lerobot(folder: Path):
    from lerobot.datasets.lerobot_dataset import LeRobotDataset

    return LeRobotDataset("tests/replay", root=folder)


def shard(folder: Path, kind: str, number: int) -> Path:
    return folder / f"{kind}/chunk-000/file-{number:03d}.parquet"


def rewrite(path: Path, **columns: Callable[[np.ndarray], np.ndarray]) -> None:
    """Change columns of a parquet file, as if it had been written so."""
    table = pq.read_table(path)
    for name, change in columns.items():
        table = with_column(table, name, change(table[name].to_numpy().copy()))
    pq.write_table(table, path)


def cut_footer(folder: Path) -> None:
    path = shard(folder, "data", 3)
    path.write_bytes(path.read_bytes()[:-100])


def not_a_number(folder: Path) -> None:
    rewrite(
        shard(folder, "data", 3), **{"next.reward": lambda values: np.where(values < 1501, values, np.nan)}
    )


def gap(folder: Path) -> None:
    rewrite(shard(folder, "data", 3), frame_index=lambda values: values + (values > 4))


def count(folder: Path) -> None:
    info = json.loads((folder / "meta/info.json").read_text())
    (folder / "meta/info.json").write_text(json.dumps(info | {"total_episodes": 7}))


DAMAGES = [
    (cut_footer, "data/chunk-000/file-003.parquet: no footer: it was not closed", 3),
    (not_a_number, "data/chunk-000/file-003.parquet: next.reward at frame 16 is not finite", 3),
    (gap, "data/chunk-000/file-003.parquet: frame_index 6 of episode 3 should be 5", 3),
    (count, "info.json counts 7 episodes, meta/episodes 5", 5),
    (lambda folder: shard(folder, "data", 3).unlink(), "data/chunk-000/file-003.parquet is missing", 3),
    (lambda folder: shard(folder, "sidecar", 2).unlink(), "sidecar describes 4 episodes, meta/episodes 5", 2),
    (
        lambda folder: shutil.copy(shard(folder, "data", 4), shard(folder, "data", 5)),
        "data/chunk-000/file-005.parquet belongs to no episode",
        5,
    ),
    (lambda folder: (folder / "meta/stats.json").unlink(), "it has no meta/stats.json", 5),
    (lambda folder: shard(folder, "meta/episodes", 1).write_text("PAR1"), "file-001.parquet: ", 5),
    (
        lambda folder: rewrite(shard(folder, "meta/episodes", 4), length=lambda values: values + 1),
        "info.json counts 27 frames, meta/episodes 28",
        5,
    ),
    (lambda folder: (folder / "meta/info.json").write_text("{"), "meta/info.json is broken", 5),
    (lambda folder: (folder / "meta/info.json").unlink(), "it has no meta/info.json", 5),
    (lambda folder: (folder / "meta/tasks.parquet").unlink(), "meta/tasks.parquet is missing", 5),
    (lambda folder: (folder / "meta/tasks.parquet").write_bytes(b""), "empty: it has 0 bytes", 5),
    (
        lambda folder: [path.unlink() for path in (folder / "meta/episodes").rglob("*.parquet")],
        "meta/episodes holds no file",
        5,
    ),
]


@pytest.mark.parametrize(("damage", "said", "kept"), DAMAGES, ids=range(len(DAMAGES)))
def test_damage_is_found_and_the_longest_whole_prefix_is_kept(
    damage: Callable[[Path], object], said: str, kept: int, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "replay"
    truths = make_replay(folder)
    assert verify(folder) == []
    damage(folder)
    assert any(said in problem for problem in verify(folder))
    assert residual_rl("replay", "verify", str(folder)) == 1
    repaired = repair(folder)
    assert verify(folder) == []
    assert residual_rl("replay", "verify", str(folder)) == 0
    assert (repaired.episodes, repaired.frames) == (kept, sum(LENGTHS[:kept]))
    assert repaired.dropped or kept == 5
    assert first_numbers(folder) == numbers_of(truths[:kept])
    dataset = open_with_lerobot(folder)
    assert (dataset.num_episodes, len(dataset)) == (kept, sum(LENGTHS[:kept]))


def test_repair_cuts_within_a_file_and_says_so(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = tmp_path / "replay"
    truths = make_replay(folder)
    export(folder, tmp_path / "one", Selection())
    path = shard(tmp_path / "one", "data", 5)
    assert path.exists()
    rewrite(path, **{"next.reward": lambda values: np.where(values < 1502, values, np.inf)})
    with caplog.at_level("INFO"):
        assert residual_rl("replay", "repair", str(tmp_path / "one")) == 0
    file = "data/chunk-000/file-005.parquet"
    assert f"dropped: {file}: next.reward at frame 18 is not finite; 2 episodes in it" in caplog.text
    assert "is whole: 3 episodes, 14 frames" in caplog.text
    assert first_numbers(tmp_path / "one") == numbers_of(truths[:3])


def test_whole_dataset_is_left_as_it_is(tmp_path: Path) -> None:
    make_replay(tmp_path / "replay")
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "replay").rglob("*")}
    assert repair(tmp_path / "replay").dropped == ()
    assert before == {path: path.stat().st_mtime_ns for path in (tmp_path / "replay").rglob("*")}


def test_what_is_lost_to_a_repair_may_come_again(tmp_path: Path) -> None:
    folder = tmp_path / "replay"
    truths = make_replay(folder)
    cut_footer(folder)
    repair(folder)
    with LeRobotStore(
        folder, repo_id="tests/replay", observation_dim=OBS, action_dim=ACT, fps=20, robot_type="panda",
        task="PickCube-v1", queue_episodes=16, flush_s=60.0,
    ) as store:  # fmt: skip
        for truth in truths:
            store.add("peg", 7, pack(truth.rows))
    assert verify(folder) == []
    assert first_numbers(folder) == numbers_of(truths)


def test_export_keeps_what_was_asked_for(tmp_path: Path) -> None:
    make_replay(tmp_path / "a")
    make_replay(tmp_path / "b", actor="peg-b", first=50)
    both = tmp_path / "both"
    assert merge([tmp_path / "a", tmp_path / "b"], both).episodes == 10
    assert verify(both) == []
    for selection, kept in (
        (Selection(actors=("peg-b",)), [50, 51, 52, 53, 54]),
        (Selection(after_version=14), [3, 4, 50, 51, 52, 53, 54]),
        (Selection(after_version=14, actors=("peg",)), [3, 4]),
        (Selection(), [0, 1, 2, 3, 4, 50, 51, 52, 53, 54]),
    ):
        out = tmp_path / f"out-{len(kept)}"
        assert export(both, out, selection).episodes == len(kept)
        assert verify(out) == []
        seen = first_numbers(out)
        assert sorted({int(x) // 1000 for x in seen}) == kept
        dataset = open_with_lerobot(out)
        assert dataset.num_episodes == len(kept)
        assert [int(dataset[row["dataset_from_index"]]["index"]) for row in dataset.meta.episodes] == [
            row["dataset_from_index"] for row in dataset.meta.episodes
        ]
    actors = json.loads((both / "meta/residual_rl.json").read_text())["actors"]
    table = pads.dataset(both / "data").to_table(columns=["actor", "observation.state"]).to_pydict()
    for actor, state in zip(*table.values(), strict=True):
        assert actors[actor] == ("peg-b" if state[0] >= 50000 else "peg")


def test_export_of_successes_leaves_out_the_rest(tmp_path: Path) -> None:
    folder = tmp_path / "replay"
    make_replay(folder)
    for number in (1, 4):
        table = pq.read_table(shard(folder, "data", number))
        nothing = np.zeros(len(table), bool)
        pq.write_table(with_column(table, "next.success", nothing), shard(folder, "data", number))
    assert export(folder, tmp_path / "good", Selection(successes=True)).episodes == 3
    assert sorted({int(x) // 1000 for x in first_numbers(tmp_path / "good")}) == [0, 2, 3]


def test_budget_drops_whole_oldest_shards_and_counts_on_from_zero(tmp_path: Path) -> None:
    folder = tmp_path / "replay"
    truths = make_replay(folder, budget=Budget(max_frames=20))
    assert verify(folder) == []
    assert first_numbers(folder) == numbers_of(truths[2:])
    assert open_with_lerobot(folder).num_episodes == 3
    # What had to go is not asked for again.
    with LeRobotStore(
        folder, repo_id="tests/replay", observation_dim=OBS, action_dim=ACT, fps=20, robot_type="panda",
        task="PickCube-v1", queue_episodes=16, flush_s=60.0,
    ) as store:  # fmt: skip
        assert store.committed() == {("peg", 7, 0): 5}
        for truth in truths:
            store.add("peg", 7, pack(truth.rows))
    assert first_numbers(folder) == numbers_of(truths[2:])


def test_what_cannot_be_done_is_one_clear_line(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    make_replay(tmp_path / "a")
    make_replay(tmp_path / "fast", fps=30)
    (tmp_path / "old/meta").mkdir(parents=True)
    (tmp_path / "old/meta/info.json").write_text('{"codebase_version": "v2.1"}')
    for words, said in (
        (["merge", "out", "a", "fast"], "fast has fps 30, "),
        (["merge", "out", "a", "a"], "episode 0 of peg (session 7, sub-environment 0) is in an"),
        (["merge", "fast", "a"], "fast exists already"),
        (["export", "a", "out", "--actor", "nobody"], "none is of nobody: the actors are peg"),
        (["repair", "old"], "has LeRobot's format v2.1, not v3.0: convert it"),
        (["info", "old"], "has LeRobot's format v2.1, not v3.0: convert it with python -m lerobot"),
        (["info", "nothing"], "is no LeRobot dataset: there is no such folder"),
    ):
        paths = [
            str(tmp_path / word) if word in ("a", "fast", "old", "out", "nothing") else word for word in words
        ]
        assert residual_rl("replay", *paths) == 2
        assert said in (heard := capfd.readouterr().err)
        assert heard.count("\n") == 1
        assert not (tmp_path / "out").exists()


def test_repair_leaves_a_run_alone_that_goes_on(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    make_replay(tmp_path / "replay")
    damaged = shard(tmp_path / "replay", "data", 2)
    damaged.write_bytes(damaged.read_bytes()[:-10])
    begun = tmp_path / ".replay.shard"
    begun.write_bytes(b"what the learner has begun")
    with sole_learner(tmp_path):
        assert residual_rl("replay", "repair", str(tmp_path / "replay")) == 2
        assert "a learner is writing to" in capfd.readouterr().err
        assert begun.exists()
    assert residual_rl("replay", "repair", str(tmp_path / "replay")) == 0
    assert verify(tmp_path / "replay") == []


def test_tools_say_what_is_foreign_about_a_dataset(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    for name in ("ours", "v2.1", "slow", "columns", "cut"):
        make_replay(tmp_path / name, name, fps=10 if name == "slow" else 20)
    episodes = [Demonstration(np.ones((4, OBS), np.float32), np.ones((3, ACT), np.float32), np.ones(3, bool))]
    write_lerobot(tmp_path / "theirs", episodes, task="push", robot_type="panda", fps=20)
    info = json.loads((tmp_path / "ours/meta/info.json").read_text())
    (tmp_path / "v2.1/meta/info.json").write_text(json.dumps(info | {"codebase_version": "v2.1"}))
    fewer = {name: feature for name, feature in info["features"].items() if name != "residual"}
    (tmp_path / "columns/meta/info.json").write_text(json.dumps(info | {"features": fewer}))
    path = shard(tmp_path / "cut", "data", 2)
    pq.write_table(pq.read_table(path).drop_columns(["next.success"]), path)
    said = {
        "v2.1": "v2.1 has LeRobot's format v2.1, not v3.0: convert it with python -m lerobot",
        "theirs": "theirs was not written by this replay (no meta/residual_rl.json): use it as prior data",
        "columns": "columns lacks the columns residual",
        "cut": "cut/data/chunk-000/file-002.parquet lacks the columns next.success",
    }
    out, ours = str(tmp_path / "out"), str(tmp_path / "ours")
    capfd.readouterr()  # what LeRobot's writer said
    for name, line in said.items():
        for words in (["export", str(tmp_path / name), out], ["merge", out, ours, str(tmp_path / name)]):
            assert residual_rl("replay", *words) == 2
            assert line in (heard := capfd.readouterr().err) and heard.count("\n") == 1
            assert not (tmp_path / "out").exists()
    assert residual_rl("replay", "merge", out, ours, str(tmp_path / "slow")) == 2
    assert "slow has fps 10, " in capfd.readouterr().err
    for verb in ("repair", "verify", "info"):
        assert residual_rl("replay", verb, str(tmp_path / "v2.1")) == 2
        assert said["v2.1"] in capfd.readouterr().err
        # What is there of another one may be looked at; what is not there of ours is mended.
        assert residual_rl("replay", verb, str(tmp_path / "theirs")) == 0
    assert verify(tmp_path / "cut") != []
    assert "lacks the columns next.success" in repair(tmp_path / "cut").dropped[0]
    assert open_with_lerobot(tmp_path / "cut").num_episodes == 2


def test_info_says_what_is_in_it(tmp_path: Path, repository: Path) -> None:
    make_replay(tmp_path / "replay")
    ended = subprocess.run(
        [sys.executable, "-m", "launch", "replay", "info", str(tmp_path / "replay")],
        cwd=repository, capture_output=True, text=True,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    for word in ("PickCube-v1", "peg", "3 .. 9, mean 5.4", "0 .. 28", "100.0 %", "observation.state"):
        assert word in ended.stdout


def test_dataset_that_lerobot_wrote_is_verified_too(tmp_path: Path) -> None:
    from lerobot.datasets.lerobot_dataset import LeRobotDataset

    features = {
        name: {"dtype": "float32", "shape": (3,), "names": None} for name in ("observation.state", "action")
    }
    made = LeRobotDataset.create(
        "tests/theirs", fps=20, features=features, root=tmp_path / "theirs", use_videos=False
    )
    for length in (4, 6):
        for frame in range(length):
            value = np.full(3, frame, np.float32)
            made.add_frame({"observation.state": value, "action": value, "task": "push"})
        made.save_episode()
    made.finalize()
    assert verify(tmp_path / "theirs") == []
    assert repair(tmp_path / "theirs").written == ()
    (path,) = (tmp_path / "theirs/data").rglob("*.parquet")
    path.write_bytes(path.read_bytes()[:-50])
    assert verify(tmp_path / "theirs") == ["data/chunk-000/file-000.parquet: no footer: it was not closed"]


def test_residual_every_of_an_older_replay_stays(tmp_path: Path) -> None:
    make_replay(tmp_path / "replay")
    assert json.loads((tmp_path / "replay/meta/residual_rl.json").read_text())["residual_every"] == K


@contextlib.contextmanager
def growing(folder: Path, commits: int) -> Iterator[Callable[[], bool]]:
    """A replay of five episodes to which a thread adds as many in each of so many commits, merging all there
    is now and then; says whether it is still at it, and is waited for."""
    make_replay(folder)
    kind = {"repo_id": "tests/replay", "observation_dim": OBS, "action_dim": ACT, "fps": 20}
    writer = LeRobotWriter(folder, DatasetSpec(**kind, robot_type="panda", task="PickCube-v1"), None)
    assembler = EpisodeAssembler()

    def grow() -> None:
        for session in range(commits):
            for truth in make_stream("other", 0, LENGTHS, sub_envs=1)[0]:
                writer.append(assembler.add("other", session, [(pack(truth.rows), 10_000 + 100 * session)]))
            writer.commit()
            if session % 3 == 2:
                writer.compact()
            time.sleep(0.02)  # far shorter than a look

    thread = threading.Thread(target=grow)
    thread.start()
    yield thread.is_alive
    thread.join()
    assert writer.committed.episodes == 5 * (1 + commits)


def test_a_replay_that_grows_is_never_called_broken(tmp_path: Path) -> None:
    looks = 0
    with growing(tmp_path / "replay", 25) as goes_on:
        while goes_on():
            assert verify(tmp_path / "replay") == []
            looks += 1
    assert looks > 0


def test_tools_see_whole_prefixes_of_a_replay_that_grows(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    folder, lengths = tmp_path / "replay", []
    with growing(folder, 15) as goes_on:
        while goes_on():
            copy = tmp_path / f"copy-{len(lengths)}"
            lengths.append(export(folder, copy, Selection()).episodes)
            assert residual_rl("replay", "info", str(folder)) == 0
            assert [outcome.frames for outcome in read_replay(tmp_path)[0]][:5] == LENGTHS
            assert len(read_demonstrations(folder).episodes) % 5 == 0
    assert lengths == sorted(lengths) and not any(count % 5 for count in lengths)
    assert len(set(lengths)) > 1
    told = re.findall(r"episodes +[|│] (\d+)", capfd.readouterr().out)
    assert len(told) == len(lengths) and not any(int(count) % 5 for count in told)
    whole = first_numbers(folder)
    for number in range(len(lengths)):
        copied = first_numbers(tmp_path / f"copy-{number}")
        assert copied == whole[: len(copied)]
        assert verify(tmp_path / f"copy-{number}") == []


def test_errors_name_the_folder_and_not_the_view_of_it(tmp_path: Path) -> None:
    make_replay(tmp_path / "replay")
    path = shard(tmp_path / "replay", "sidecar", 2)
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(DatasetError, match=f"^{tmp_path}/replay is damaged"):
        export(tmp_path / "replay", tmp_path / "out", Selection())
    (tmp_path / "replay/meta/info.json").write_text("{")
    with pytest.raises(DatasetError, match=f"^{tmp_path}/replay/meta/info.json is broken"):
        merge([tmp_path / "replay"], tmp_path / "out")


def test_a_file_that_cannot_be_opened_is_named_and_not_waited_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "replay"
    make_replay(folder)
    (folder / "data/chunk-000/file-777.parquet").symlink_to(tmp_path / "gone.parquet")
    for words in (
        ["info", str(folder)],
        ["verify", str(folder)],
        ["export", str(folder), str(tmp_path / "out")],
    ):
        assert residual_rl("replay", *words) != 0
        said = capsys.readouterr()
        assert "file-777.parquet cannot be read: it is a link to" in said.err + said.out


def test_no_file_that_a_reader_has_listed_goes_away_while_it_grows(tmp_path: Path) -> None:
    folder = tmp_path / "replay"
    make_replay(folder)
    for kind in ("data", "meta/episodes", "sidecar"):
        assert len(list((folder / kind).rglob("*.parquet"))) == len(LENGTHS)
    with LeRobotStore(
        folder, repo_id="tests/replay", observation_dim=OBS, action_dim=ACT, fps=20, robot_type="panda",
        task="PickCube-v1", queue_episodes=16, flush_s=1e-6,
    ) as store:  # fmt: skip
        listed: set[str] = set()
        for session, truth in enumerate(make_stream("other", 0, [3] * 12, sub_envs=1)[0]):
            store.add("other", session, pack(truth.rows))
            store.end_session("other", session)
            while store.episodes <= len(LENGTHS) + session:
                store.raise_if_failed()
                time.sleep(0.001)
            seen = {str(path) for path in folder.rglob("*.parquet")}
            assert listed <= seen
            listed = seen
    assert len(list((folder / "data").rglob("*.parquet"))) == 1
    assert verify(folder) == []
