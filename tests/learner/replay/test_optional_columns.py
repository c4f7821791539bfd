"""An optional column goes into ring and dataset and comes back, and costs nothing where the spec has none."""

from pathlib import Path

import numpy as np
import pytest
import torch

from learner.replay.dataset.read import read_spec
from learner.replay.dataset.store import LeRobotStore
from learner.replay.memory.columns import optional_shapes
from learner.replay.memory.ring import Ring
from learner.replay.restore.ring import restore_ring
from protocol.experience import ExperienceCheck, ExperienceSpec
from tests.support.optional_columns import OPTIONAL, declare, offered
from tests.support.spec import make_spec

NAMES = tuple(column.name for column in OPTIONAL)


@pytest.fixture(autouse=True)
def declared(monkeypatch: pytest.MonkeyPatch) -> None:
    declare(monkeypatch)


def make_ring(spec: ExperienceSpec) -> Ring:
    return Ring(64, 3, 8, optional=optional_shapes(spec))


def make_store(folder: Path, spec: ExperienceSpec) -> LeRobotStore:
    return LeRobotStore(
        folder, repo_id="seen", observation_dim=3, action_dim=2, fps=20, robot_type="panda", task="t",
        queue_episodes=8, flush_s=600.0, optional_columns=spec.optional_columns,
    )  # fmt: skip


def test_optional_columns_go_into_ring_and_dataset_and_come_back(tmp_path: Path) -> None:
    spec = make_spec(observation_dim=3, action_dim=2, optional_columns=NAMES)
    columns, ring = offered(spec), make_ring(spec)
    ExperienceCheck(spec)(columns)
    with make_store(tmp_path / "replay", spec) as store:
        store.add("actor-0", 1, columns, ring.add("actor-0", columns))
    back = make_ring(spec)
    assert restore_ring(tmp_path / "replay", back) == len(ring)
    sampled, again = (
        each.sample_with_optional(200, np.random.default_rng(0), n_step=1, gamma=0.9, reward_offset=0.0)
        for each in (ring, back)
    )
    assert set(sampled[1]) == set(NAMES)
    for name in ("log_probability", "intervened"):
        assert torch.equal(again[1][name], sampled[1][name])
    # Of a plan that an episode's end cuts, the dataset has the executed frames alone.
    known = again[1]["feature"] != 0
    assert torch.equal(again[1]["feature"][known], sampled[1]["feature"][known])
    # The offering policy writes the same frame number into both.
    assert torch.equal(sampled[1]["feature"][:, 0, 0, 0], -sampled[1]["log_probability"])


def test_a_run_without_optional_columns_has_no_trace_of_them(tmp_path: Path) -> None:
    spec = make_spec(observation_dim=3, action_dim=2)
    columns, ring = offered(spec), make_ring(spec)
    assert ring.nbytes == Ring(64, 3, 8).nbytes
    with make_store(tmp_path / "replay", spec) as store:
        store.add("actor-0", 1, columns, ring.add("actor-0", columns))
    assert not set(NAMES) & read_spec(tmp_path / "replay").features().keys()
    with pytest.raises(ValueError, match="lacks the columns feature, intervened, log_probability"):
        restore_ring(tmp_path / "replay", make_ring(make_spec(optional_columns=NAMES, action_dim=2)))
