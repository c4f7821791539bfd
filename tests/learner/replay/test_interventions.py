"""Decisions in which somebody intervened: what critics learn from them, and how often."""

from pathlib import Path

import numpy as np
import pytest
import torch

from learner.algorithms.residual_sac import ResidualSAC
from learner.replay.dataset.arrow import matrix, read_parquet
from learner.replay.dataset.format.layout import DATA_PATH, file_name
from learner.replay.dataset.store import LeRobotStore
from learner.replay.memory.batches import Batches
from learner.replay.memory.columns import optional_shapes
from learner.replay.memory.ring import Ring
from learner.replay.restore.ring import restore_ring
from learner.replay.tools.verify import verify
from learner.report.interventions import InterventionCount
from tests.support.helpers import collect, make_config
from tests.support.interventions import ScriptedSource, intervened_columns, intervention_spec, taken_over

SCALE = 0.1


def make_ring() -> Ring:
    return Ring(64, 3, 8, optional=optional_shapes(intervention_spec()), residual_scale=SCALE)


def make_batches(ring: Ring, fraction: float) -> Batches:
    words = (f"algo.intervention_fraction={fraction}", "algo.batch_size=16", "algo.prior_fraction=0")
    return Batches(make_config(*words, "algo.n_step=1").algo, ring, None, seed=0, device="cpu")


def test_critics_learn_from_what_was_executed_however_far_it_is_and_in_all_dimensions():
    """Plans are 0.1, 0.11, 0.12, 0.13 in both dimensions. The residual may change the second one by 0.1 at
    most; 0.9 in the first frame is 8 of these from the plan, and -0.9 in the second 10.1 below."""
    source = ScriptedSource({0: {0: [0.9, 0.15]}, 1: {0: [0.11, -0.9]}})
    words = ("algo.residual_scale=0.1", "algo.residual_dims=[1]")
    columns = collect(taken_over(source, [[4]], *words), 4)
    np.testing.assert_allclose(columns["residual"][0, :2], [[0, 0.5], [0, -1]], atol=1e-5)
    ring = make_ring()
    ring.add("a", columns)
    batch = ring.sample(1, np.random.default_rng(0), n_step=1, gamma=0.9, reward_offset=0.0)
    wanted = [[8, 0.5], [0, -10.1], [0, 0], [0, 0]]
    torch.testing.assert_close(batch.residual.view(4, 2), torch.tensor(wanted), atol=1e-4, rtol=0)
    algo = make_config(*words, "algo.residual_every=4", "algo.critic_input=sum").algo
    sac = ResidualSAC(algo, 3, 2, seed=0, device="cpu")
    seen = sac._action_features(batch.base_plan, batch.residual).view(4, 2)
    executed = torch.from_numpy(columns["action"][0])
    torch.testing.assert_close(seen, executed, atol=1e-5, rtol=0)
    # What the actor may do stays as it is.
    own = sac.actor.mode(batch.observation, batch.base_plan).view(4, 2)
    assert not own[:, 0].any() and own.abs().max() <= 1


def test_the_dataset_says_who_acted_and_gives_the_ring_back_to_the_bit(tmp_path: Path):
    columns, ring = intervened_columns(), make_ring()
    with LeRobotStore(
        tmp_path / "replay", repo_id="seen", observation_dim=3, action_dim=2, fps=20, robot_type="panda",
        task="t", queue_episodes=8, flush_s=600.0, optional_columns=("intervention",),
    ) as store:  # fmt: skip
        store.add("actor-0", 1, columns, ring.add("actor-0", columns))
    assert verify(tmp_path / "replay") == []
    said = matrix(read_parquet(tmp_path / "replay" / file_name(DATA_PATH, 0)), "is_intervention")
    assert said.sum() == columns["intervention"].sum() == 4
    back = make_ring()
    assert restore_ring(tmp_path / "replay", back) == len(ring)
    assert torch.equal(back.rows.block, ring.rows.block)
    assert ring.rows.block[:, -8:].abs().max() > 1, "an executed residual is beyond the bound"
    np.testing.assert_array_equal(back.intervened.linked, ring.intervened.linked)
    batches = [make_batches(each, 0.25).next() for each in (ring, back)]
    assert all(torch.equal(batches[0][name], batches[1][name]) for name in batches[0])


@pytest.mark.parametrize(("fraction", "rows"), [(0.25, 4), (0.5, 8)])
def test_a_fraction_of_each_batch_is_of_interventions(fraction: float, rows: int):
    ring = make_ring()
    columns = intervened_columns()
    ring.add("a", columns)
    batches = make_batches(ring, fraction)
    batches.next()
    drawn = batches.drawn(0)
    intervened = set(ring.rows.positions(ring.intervened.linked).tolist())
    assert len(intervened) == 2
    ours = [start in intervened for start in drawn.start.tolist()]
    assert all(ours[-rows:]) and len(ours) == 16


def test_nothing_changes_where_nobody_intervened():
    columns = intervened_columns()
    plain = {name: values for name, values in columns.items() if name != "intervention"}
    quiet = columns | {"intervention": np.zeros_like(columns["intervention"])}
    rings = make_ring(), Ring(64, 3, 8)
    for ring, sent in zip(rings, (quiet, plain), strict=True):
        ring.add("a", sent)
    batches = [make_batches(ring, 0.5).next() for ring in rings]
    assert all(torch.equal(batches[0][name], batches[1][name]) for name in batches[0])


def test_overwritten_interventions_are_not_drawn():
    ring = make_ring()
    ring.add("a", intervened_columns())
    quiet = intervened_columns()
    quiet["intervention"][:] = False
    for actor in "bcdef":
        ring.add(actor, quiet)
    assert not ring.has_intervened


def test_interventions_are_looked_for_once_until_rows_change():
    ring, columns = make_ring(), intervened_columns()
    ring.add("a", columns)
    first = ring.intervened.linked
    make_batches(ring, 0.5).next()
    assert ring.intervened.linked is first, "nothing has changed"
    ring.add("b", columns)
    assert ring.intervened.linked.tolist() == [*first, *(first + ring.rows.position // 2)]


def test_interventions_that_are_read_back_in_any_order_are_there_once():
    ring, columns = make_ring(), intervened_columns()
    ring.add("a", columns)
    ring.add("b", columns)
    before = ring.intervened.linked.tolist()
    half = ring.rows.position // 2
    backwards = {"intervention": np.ones((half, 4), bool)}
    ring.intervened.add(np.arange(half)[::-1], backwards)
    assert ring.intervened._positions.tolist() == [*range(half), *(each for each in before if each >= half)]


def test_the_shares_of_frames_and_the_episodes_touched_are_counted():
    columns = intervened_columns()
    count = InterventionCount(SCALE)
    touched = count.count("a", columns)
    assert [(columns["sub_env"][row], columns["episode"][row]) for row in touched] == [(0, 0)]
    frames = columns["frames"].sum()
    assert count.figures() == {"intervention_share": 4 / frames, "intervention_clipped_share": 1.0}
