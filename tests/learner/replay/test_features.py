"""The base's features go the way of their row: the same bits in wire, journal, ring and dataset, and back."""

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from actor.policy.decorated import DecoratedPolicy
from actor.policy.spec import experience_spec
from actor.rollout import Rollout
from config.main import Config
from learner.replay.dataset.arrow import flattened, matrix, read_parquet
from learner.replay.dataset.format.layout import SIDECAR_PATH, file_name
from learner.replay.dataset.format.spec import DatasetError
from learner.replay.dataset.read import read_spec
from learner.replay.dataset.store import LeRobotStore
from learner.replay.dataset.writer import LeRobotWriter
from learner.replay.memory.batches import Batches
from learner.replay.memory.ring import Ring
from learner.replay.prior.demonstration import Demonstration
from learner.replay.prior.maniskill import write_maniskill
from learner.replay.prior.plans import features_along
from learner.replay.restore.ring import restore_ring
from learner.replay.run import load_prior, make_prior_ring, make_ring, make_store
from learner.replay.tools.merge import merge
from learner.replay.tools.verify import verify
from learner.schedule.pace import Pace
from protocol.arrays import Columns
from protocol.codec import decode_from_client, encode
from protocol.messages import Experience
from tests.support.fakes import ScriptedEnvironment, SeeingBase
from tests.support.helpers import collect, make_config
from tests.support.journals import LIMITS, Writer
from tests.support.ring import check_ring

WORDS = ("algo.residual_every=4", "algo.sees=[features]", "learner.robot_state_dim=null")
E = SeeingBase.features_dim


def config_in(folder: Path, *words: str) -> Config:
    return make_config(*WORDS, f"runs_dir={folder}", "name=run", *words)


def played(config: Config) -> Columns:
    base = SeeingBase()
    policy = DecoratedPolicy.of(config, base, num_envs=2, first_seed=0)
    rollout = Rollout(ScriptedEnvironment([[7, 3], [5]]), policy, experience_spec(config, base))
    return collect(rollout, 20)


def episode(first: float, frames: int) -> Demonstration:
    """Observation numbers count up from `first`; the last action succeeds."""
    observations = np.zeros((frames + 1, 3), np.float32)
    observations[:, 0] = first + np.arange(frames + 1)
    return Demonstration(observations, np.full((frames, 2), 0.1, np.float32), np.arange(frames) == frames - 1)


def empty_ring(config: Config) -> Ring:
    return make_ring(64, config, SeeingBase())


def stored(config: Config, columns: Columns) -> Ring:
    """The ring of a process that has written its dataset."""
    ring = empty_ring(config)
    with make_store(config, SeeingBase()) as store:
        store.add("actor-0", 1, columns, ring.add("actor-0", columns))
        store.end_session("actor-0", 1)
    return ring


def test_the_bits_are_the_same_in_wire_journal_ring_and_dataset_and_after_a_restart(tmp_path: Path) -> None:
    config = config_in(tmp_path)
    columns = played(config)
    frames = [bytes(frame) for frame in encode(Experience(session=1, sequence=0, columns=columns), LIMITS)]
    received = decode_from_client(frames, LIMITS)
    assert isinstance(received, Experience)
    writer = Writer(tmp_path / "journal", spec=experience_spec(config, SeeingBase()))
    writer.append(1, 0, columns)
    writer.wait_for(lambda: writer.durable)
    writer.journal.close()
    again = Writer(tmp_path / "journal", spec=experience_spec(config, SeeingBase()))
    again.journal.close()
    for name in ("features", "final_features"):
        bits = columns[name].view(np.uint16)
        for copy in (received.columns, again.replayed[0].columns):
            np.testing.assert_array_equal(copy[name].view(np.uint16), bits)
    ring = stored(config, columns)
    check_ring(ring)
    decisions = np.arange(len(columns["frames"])) + np.searchsorted(
        columns["final_row"], np.arange(len(columns["frames"]))
    )
    in_ring = ring.rows.block[:, 3 : 3 + E].numpy().astype(np.float16)
    np.testing.assert_array_equal(in_ring[decisions].view(np.uint16), columns["features"].view(np.uint16))
    folder = config.run_dir / "replay"
    sidecar = read_parquet(folder / file_name(SIDECAR_PATH, 0))
    kept = flattened(sidecar, "features").reshape(-1, E)
    assert kept.dtype == matrix(sidecar, "final_features").dtype == np.float16
    assert {row.tobytes() for row in kept} == {row.tobytes() for row in columns["features"]}
    back = empty_ring(config)
    assert restore_ring(folder, back) == len(ring)
    assert torch.equal(back.rows.block, ring.rows.block)
    assert verify(folder) == []


def test_a_target_bootstraps_from_the_features_of_the_row_that_follows(tmp_path: Path) -> None:
    ring = empty_ring(config_in(tmp_path))
    ring.add("actor-0", played(config_in(tmp_path)))
    batch = ring.sample(100, np.random.default_rng(0), n_step=1, gamma=0.9, reward_offset=0.0)
    for row in (batch.observation, batch.next_observation):
        np.testing.assert_array_equal(row[:, 3].numpy(), row[:, 0].numpy().astype(np.float16))
    assert (batch.next_observation[:, 3] != batch.observation[:, 3]).all()


def test_a_merged_dataset_has_them_and_another_width_is_another_dataset(tmp_path: Path) -> None:
    config = config_in(tmp_path)
    ring = stored(config, played(config))
    merge([config.run_dir / "replay"], tmp_path / "merged")
    back = empty_ring(config)
    assert restore_ring(tmp_path / "merged", back) == len(ring)
    assert torch.equal(back.rows.block, ring.rows.block)
    folder, spec = config.run_dir / "replay", read_spec(config.run_dir / "replay")
    assert spec.features_dim == E
    with pytest.raises(DatasetError, match="features_dim 3, not 5"):
        LeRobotWriter(folder, type(spec)(**vars(spec) | {"features_dim": 5}))
    with pytest.raises(DatasetError, match=r"features_dim 3, this run has 0: .* choose another name"):
        restore_ring(folder, Ring(64, 3, 8))


def test_features_that_were_not_kept_are_lost_to_a_restart_which_says_so_and_learns_anew(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config = config_in(tmp_path, "learner.keep_features=false", "algo.learning_starts=10", "algo.utd=1")
    columns = played(config)
    rows = len(columns["frames"])
    before = stored(config, columns)
    ring = empty_ring(config)
    with caplog.at_level(logging.WARNING):
        assert restore_ring(config.run_dir / "replay", ring) == 0
    assert f"{rows} decisions of" in caplog.text and "learner.keep_features=false" in caplog.text
    assert ring.rows.position == before.rows.position and ring.lost == rows
    batches = Batches(config.algo, ring, None, seed=0, device="cpu")
    assert batches.figures() == {} and not ring.has_transitions
    pace = Pace(config.algo, 10, 1000, lambda: ring.lost)
    pace.resume(rows, 100)
    assert pace.updates_due == 0 and pace.takes_data
    pace.count("actor-0", columns)
    ring.add("actor-0", columns)
    assert pace.updates_due == rows
    assert batches.next()["observation"].shape[1] == 3 + E


def test_demonstrations_have_them_once_with_their_plans(tmp_path: Path) -> None:
    demos = tmp_path / "demos.h5"
    shown = [episode(100, 6), episode(200, 4)]
    write_maniskill(demos, shown)
    config = config_in(tmp_path, f"learner.demos={demos}", "algo.prior_fraction=0.5")
    base = SeeingBase()
    prior = load_prior(config, base)
    assert prior is not None
    wanted = np.concatenate([features_along(base, episode, 4).along for episode in shown])
    np.testing.assert_array_equal(prior.columns["features"], wanted)
    np.testing.assert_array_equal(wanted[:, 0], [100, 104, 200])
    ring = make_prior_ring(prior, config, base)
    assert ring.observation.shape[1] == 3 + E

    def refuse(*_: Any) -> Any:
        raise AssertionError("the base is asked again")

    base.features = base.plan = refuse  # type: ignore[method-assign]  # watched
    again = load_prior(config, base)
    assert again is not None
    np.testing.assert_array_equal(again.columns["features"], prior.columns["features"])


def test_a_dataset_without_features_has_no_trace_of_them(tmp_path: Path) -> None:
    config = make_config("algo.residual_every=4")
    columns = played(config)
    with LeRobotStore(
        tmp_path / "replay", repo_id="t", observation_dim=3, action_dim=2, fps=20, robot_type="panda",
        task="t", queue_episodes=8, flush_s=600.0,
    ) as store:  # fmt: skip
        store.add("actor-0", 1, columns)
    sidecar = read_parquet(tmp_path / "replay" / file_name(SIDECAR_PATH, 0))
    assert not {"features", "final_features"} & {*sidecar.column_names, *columns}
