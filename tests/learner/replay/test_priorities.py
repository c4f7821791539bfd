"""Rows drawn by their error, from the ring to the critics' loss and back."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import msgspec
import numpy as np
import pytest
import torch

from actor.policy.spec import experience_spec
from config.algo import AlgoConfig
from config.section import ConfigError
from learner.algorithms.residual_sac import ResidualSAC
from learner.intake.intake import Intake
from learner.loop import Learner
from learner.replay.journal.journal import Journal
from learner.replay.memory.batches import Batches
from learner.replay.memory.ring import Ring
from learner.report.metrics import Metrics
from learner.run import make_ring, make_store
from protocol.arrays import Limits
from tests.support.fakes import CountingBase
from tests.support.helpers import make_config
from tests.support.identifiable import ACT, OBS, K, make_stream, pack

WORDS = (
    "algo.prior_fraction=0.5", "algo.batch_size=8", "algo.n_step=1", "algo.gamma=0.9",
    "algo.priority_exponent=0.5", "algo.priority_correction=1.0", "algo.critics=4",
    "algo.observation_noise=0",
)  # fmt: skip


def filled(first: int) -> Ring:
    ring = Ring(64, OBS, K * ACT, prioritised=True)
    ring.add("peg", pack(make_stream("peg", first, [9, 5], sub_envs=1)[1]))
    return ring


def linked(ring: Ring) -> np.ndarray:
    """Slots that may be drawn."""
    return np.flatnonzero(ring.following != ring.unknown)


def priorities(ring: Ring) -> np.ndarray:
    assert ring._priorities is not None
    return ring._priorities[np.arange(ring.capacity)]


def test_uniform_batches_carry_no_weight_and_their_rings_keep_no_priorities() -> None:
    config = make_config("algo.prior_fraction=0")
    ring = make_ring(64, config, CountingBase())
    assert ring._priorities is None
    assert make_ring(64, make_config("algo.priority_exponent=0.6"), CountingBase())._priorities is not None
    ring = Ring(64, OBS, K * ACT)
    ring.add("peg", pack(make_stream("peg", 0, [9, 5], sub_envs=1)[1]))
    assert "weight" not in Batches(config.algo, ring, None, seed=0, device="cpu").next()


def test_errors_become_priorities_of_the_rows_that_were_drawn_in_either_ring() -> None:
    online, prior = filled(0), filled(50)
    batches = Batches(make_config(*WORDS).algo, online, prior, seed=0, device="cpu")
    batch = batches.next()
    assert batch["weight"].tolist() == [1.0] * 8
    drawn = [positions for _, positions in batches._drawn]
    errors = np.array([4.0, -4.0, 4.0, -4.0, 9.0, 9.0, -9.0, 9.0])
    batches.reprioritise(torch.from_numpy(errors))
    for ring, positions, wanted in zip((online, prior), drawn, (2.0, 3.0), strict=True):
        seen = priorities(ring)
        np.testing.assert_allclose(seen[positions], wanted, rtol=1e-6)
        others = np.setdiff1d(linked(ring), positions)
        assert (seen[others] == 1.0).all()
        ring.check_valid()


def test_critics_that_diverge_stop_nothing(caplog) -> None:
    online, prior = filled(0), filled(50)
    batches = Batches(make_config(*WORDS).algo, online, prior, seed=0, device="cpu")
    for _ in range(2):
        batches.next()
        rows = [positions for _, positions in batches._drawn]
        before = [priorities(ring) for ring in (online, prior)]
        batches.reprioritise(torch.tensor([np.nan, np.inf, -np.inf, np.nan, np.nan, np.nan, np.inf, 4.0]))
        assert np.array_equal(priorities(online), before[0])
        wanted = before[1]
        wanted[rows[1][3]] = (4.0 + 1e-6) ** 0.5
        np.testing.assert_allclose(priorities(prior), wanted)
        online.check_valid()
    assert batches.non_finite_errors == 14
    assert [record.message for record in caplog.records if "not finite" in record.message] == [
        "7 temporal-difference errors of a batch are not finite: the critics diverged; their rows keep their "
        "priorities, and this is said once"
    ]


def test_errors_that_are_not_finite_are_a_figure_of_the_run(tmp_path: Path) -> None:
    run_dir = tmp_path / "run"
    config = make_config(
        *WORDS, f"runs_dir={tmp_path}", "name=run", "learner.wandb.mode=disabled",
        "learner.robot_state_dim=null", "learner.replay_capacity=64", "algo.residual_every=4",
    )  # fmt: skip
    base = CountingBase(OBS, ACT, K)
    algorithm = ResidualSAC(config.algo, OBS, ACT, seed=0, device="cpu")
    limits = msgspec.convert(config.wire, Limits, from_attributes=True)
    journal = Journal(run_dir / "journal", config.learner.journal, experience_spec(config, base), limits)
    intake = Intake(config.wire, experience_spec(config, base), queue_rows=64)
    with make_store(config, run_dir, base) as store, Metrics(run_dir, config.learner.wandb, {}) as metrics:
        stop = threading.Event()
        learner = Learner(config, base, algorithm, None, intake, journal, store, metrics, stop)
        learner._ring.add("peg", pack(make_stream("peg", 0, [9, 5], sub_envs=1)[1]))
        learner._report_if_due(0.0, waiting_for="")
        learner._batches.next()
        learner._batches.reprioritise(torch.tensor([1.0, torch.nan, torch.inf, 1.0, 1.0, 1.0, 1.0, 1.0]))
        learner._report_if_due(1000.0, waiting_for="")
    journal.close()
    points = [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]
    assert [point["non_finite_errors"] for point in points] == [0, 2]


def test_weights_of_both_rings_make_up_for_how_often_their_rows_are_drawn() -> None:
    online, prior = filled(0), filled(50)
    high = linked(online)[0]
    online.set_priorities(np.array([high]), np.array([4.0]))
    batch = Batches(make_config(*WORDS).algo, online, prior, seed=0, device="cpu").next()
    count, rows = len(linked(online)), len(online)
    # N P of a row with priority p among `count` rows of which one has 4 and the others 1.
    ordinary, rare = rows / (count + 3), 4 * rows / (count + 3)
    in_prior = len(prior) / len(linked(prior))
    largest = max(1 / ordinary, 1 / in_prior)
    is_high = (batch["observation"][:4] == online.observation[high]).all(1)
    assert is_high.any() and not is_high.all()
    wanted = torch.where(is_high, 1 / rare, 1 / ordinary) / largest
    torch.testing.assert_close(batch["weight"][:4], wanted)
    torch.testing.assert_close(batch["weight"][4:], torch.full((4,), 1 / in_prior / largest))


def make_batch(algo: AlgoConfig, rows: int) -> dict[str, torch.Tensor]:
    rng = torch.Generator().manual_seed(1)
    widths = {"observation": 3, "base_plan": 8, "residual": 8, "next_observation": 3, "next_base_plan": 8}
    batch = {name: torch.rand((rows, width), generator=rng) for name, width in widths.items()}
    return batch | {"reward": torch.rand(rows, generator=rng), "discount": torch.full((rows,), 0.5)}


def learner(algo: AlgoConfig) -> ResidualSAC:
    return ResidualSAC(algo, 3, 2, seed=0, device="cpu")


def test_update_tells_the_error_of_every_row_as_it_was_before_the_step() -> None:
    algo = make_config(*WORDS, "algo.target_noise_std=0", "algo.target_critics=4").algo
    batch, algorithm = make_batch(algo, 5), learner(algo)
    target = learner(algo).bootstrap_target(batch)
    q = algorithm.critic(batch["observation"], algorithm._features(batch["base_plan"], batch["residual"]))
    wanted = (q - target).abs().mean(dim=0)
    algorithm.update(batch)
    assert algorithm.errors is None
    algorithm = learner(algo)
    algorithm.update(batch | {"weight": torch.ones(5)})
    assert algorithm.errors is not None
    torch.testing.assert_close(algorithm.errors, wanted.detach())


def test_rows_without_weight_teach_the_critics_nothing() -> None:
    algo = make_config(*WORDS, "algo.target_noise_std=0", "algo.target_critics=4").algo
    batch = make_batch(algo, 6)
    weight = torch.tensor([1.0, 1, 1, 0, 0, 0])
    changed = batch | {"reward": batch["reward"] + (weight == 0)}
    trained = [learner(algo) for _ in range(3)]
    trained[0].update(batch | {"weight": weight})
    trained[1].update(changed | {"weight": weight})
    trained[2].update(changed | {"weight": torch.ones(6)})
    weights = [torch.cat([p.flatten() for p in one.critic.parameters()]) for one in trained]
    assert torch.equal(weights[0], weights[1]) and not torch.equal(weights[0], weights[2])


@pytest.mark.parametrize("word", ["algo.priority_exponent=-1", "algo.priority_correction=1.5"])
def test_keys_out_of_range_are_named(word: str) -> None:
    with pytest.raises(ConfigError, match=word.partition("=")[0].partition(".")[2]):
        make_config(word)
