"""PPO and GRPO from decisions to updates."""

from collections.abc import Mapping
from typing import Any

import pytest
import torch

from learner.on_policy.grpo import GRPO
from learner.on_policy.ppo import PPO
from learner.on_policy.rows import joined, rows_of
from tests.support.on_policy import Run, on_policy_config

ALGORITHMS = {
    "ppo": ("actor.num_envs=2",),
    "grpo": ("actor.num_envs=2", "algo.group_size=2", "algo.batch_groups=2", "algo.reference_weight=0.1"),
}


def started(algo: str, *words: str) -> Run:
    run = Run.of(on_policy_config(algo, *ALGORITHMS[algo], *words))
    run.publish()
    return run


def feed(run: Run, number: int) -> None:
    """A batch's worth of whole episodes in two sub-environments."""
    for episode in (2 * number, 2 * number + 1):
        for sub_env in (0, 1):
            seed = 10 * episode + sub_env
            run.receive(run.decisions(9, sub_env=sub_env, episode=episode, end="truncated", seed=seed))


def weights_of(run: Run) -> list[torch.Tensor]:
    return [value.clone() for value in run.training.algorithm.published().values()]


def test_a_truncated_episode_bootstraps_from_its_last_observation_and_a_terminated_one_does_not() -> None:
    run = started("ppo", "algo.trace=0.0")
    algorithm = run.training.algorithm
    assert isinstance(algorithm, PPO)
    for end in ("truncated", "terminated"):
        columns = run.decisions(1, end=end)
        found = algorithm.prepare(rows_of(1, columns)).content
        with torch.no_grad():
            value, last = (
                algorithm.value(torch.from_numpy(each))
                for each in (columns["observation"][:, 0], columns["final_observation"])
            )
        expected = columns["reward"][0, 0] + (0.95 * last.item() if end == "truncated" else 0.0)
        assert found["return"].item() == pytest.approx(expected, abs=1e-5)
        assert found["value"].item() == pytest.approx(value.item(), abs=1e-5)


def test_decisions_are_joined_by_episode_and_not_by_arrival() -> None:
    run = started("ppo")
    algorithm = run.training.algorithm
    assert isinstance(algorithm, PPO)
    parts = [run.decisions(3, sub_env=0, seed=1), run.decisions(3, sub_env=1, seed=2)]
    late = run.decisions(2, sub_env=0, first=3, seed=3)
    rows = joined([rows_of(1, each) for each in (*parts, late)])
    prepared = algorithm.prepare(rows)
    # Of the first sub-environment four of five lead somewhere, of the second two of three.
    assert len(prepared.content["advantage"]) == 4 + 2
    assert prepared.left["decision"].tolist() == [4, 2]


def test_a_decision_after_a_gap_says_nothing_about_the_one_before() -> None:
    run = started("ppo")
    algorithm = run.training.algorithm
    assert isinstance(algorithm, PPO)
    rows = joined([rows_of(1, run.decisions(3)), rows_of(1, run.decisions(3, first=4))])
    prepared = algorithm.prepare(rows)
    assert len(prepared.content["advantage"]) == 4 and prepared.left["decision"].tolist() == [2, 6]


def test_groups_are_of_the_same_episode_in_neighbouring_sub_environments() -> None:
    run = started("grpo", "actor.num_envs=4", "algo.gamma=1.0")
    algorithm = run.training.algorithm
    assert isinstance(algorithm, GRPO)
    parts = []
    for sub_env, reward in enumerate((1.0, 3.0, 5.0, 5.0)):
        columns = run.decisions(2, sub_env=sub_env, end="truncated", seed=sub_env)
        columns["reward"][:] = [[0.0], [reward]]
        parts.append(rows_of(1, columns))
    # An episode of the next group, whose other one is still under way.
    parts += [rows_of(1, run.decisions(2, episode=1, end="truncated"))]
    parts += [rows_of(1, run.decisions(1, sub_env=1, episode=1))]
    prepared = algorithm.prepare(joined(parts))
    assert prepared.content["advantage"].tolist() == [-1, -1, 1, 1]
    assert algorithm.groups == 2 and algorithm.without_spread == 1
    assert len(prepared.left["version"]) == 3


@pytest.mark.parametrize("algo", ALGORITHMS)
def test_an_actor_whose_decisions_go_on_after_an_end_does_not_stop_the_learner(algo: str) -> None:
    run = started(algo)
    columns = run.decisions(36, end="truncated")
    columns["truncated"][9::9] = True
    columns["final_row"] = columns["truncated"].nonzero()[0].astype("i4")
    columns["final_observation"] = columns["final_observation"].repeat(len(columns["final_row"]), 0)
    run.receive(columns)
    run.learn()
    run.publish()
    assert run.version == 2 and all(value.isfinite().all() for value in weights_of(run))


def test_a_batch_of_single_decisions_teaches_nothing_and_changes_nothing() -> None:
    run = started("ppo")
    before = weights_of(run)
    for sub_env in range(32):
        run.receive(run.decisions(1, sub_env=sub_env))
    assert run.learn() == 0
    run.publish()
    assert run.version == 2
    for one, other in zip(before, weights_of(run), strict=True):
        assert torch.equal(one, other)


def test_a_batch_without_spread_is_over_at_once() -> None:
    run = started("grpo")
    for sub_env in (0, 1):
        for episode in (0, 1):
            columns = run.decisions(2, sub_env=sub_env, episode=episode, end="truncated")
            columns["reward"][:] = 1
            run.receive(columns)
    assert run.learn() == 0
    run.publish()
    assert run.version == 2 and run.training.schedule.figures()["groups_without_spread"] == 2


def test_the_epochs_end_once_the_policy_is_far_from_the_one_that_acted() -> None:
    run = started("ppo", "algo.stop_at_kl=1e-9", "algo.epochs=50")
    feed(run, 0)
    made = run.learn()
    assert 2 <= made <= 4, "the first step moves it, the next one is not made"
    run.publish()
    assert run.version == 2


@pytest.mark.parametrize("algo", ALGORITHMS)
def test_observations_are_scaled_by_what_was_seen_and_published_so(algo: str) -> None:
    run = started(algo)
    feed(run, 0)
    assert run.learn(1) == 1
    published = run.training.algorithm.published()
    assert published["observation_mean"].tolist() == [0, 0, 0], "the batch's probabilities are of this scale"
    run.learn()
    assert published["observation_mean"].abs().min() > 0 and published["observation_scale"].min() > 0


@pytest.mark.parametrize("algo", ALGORITHMS)
@pytest.mark.parametrize("updates", [0, 3, 100])
def test_a_resumed_run_goes_on_to_the_bit(algo: str, updates: int) -> None:
    def play(run: Run) -> None:
        run.learn()
        run.publish()
        feed(run, 1)
        run.learn()

    run = started(algo, "algo.stop_at_kl=null")
    feed(run, 0)
    run.learn(updates)
    saved: Mapping[str, Any] = _copied({name: part.state() for name, part in run.parts.items()})
    play(run)
    again = Run.of(run.config)
    for name, part in again.parts.items():
        part.load_state(saved[name])
    again.version, again.training.schedule.frames = 1, 36  # type: ignore[attr-defined]
    play(again)
    assert run.training.algorithm.updates == again.training.algorithm.updates > 0
    for one, other in zip(weights_of(run), weights_of(again), strict=True):
        assert torch.equal(one, other)


def _copied(state: Any) -> Any:
    """As a file would have it: nothing is shared."""
    if isinstance(state, torch.Tensor):
        return state.clone()
    if isinstance(state, Mapping):
        return {name: _copied(value) for name, value in state.items()}
    return [_copied(value) for value in state] if isinstance(state, list) else state


@pytest.mark.parametrize("algo", ALGORITHMS)
def test_an_update_has_the_gradients_of_the_whole_loss(algo: str) -> None:
    weights = ("algo.entropy_weight=0.3", "algo.grad_clip=null", "algo.stop_at_kl=null")
    run = started(algo, *weights, *(["algo.value_clip=0.2"] if algo == "ppo" else []))
    algorithm = run.training.algorithm
    assert isinstance(algorithm, PPO | GRPO)
    feed(run, 0)
    run.training.batches.begin()
    batch = run.training.batches.next()
    with torch.no_grad():
        algorithm.actor._log_std.add_(torch.linspace(-0.1, 0.1, len(algorithm.actor._log_std)))
    mean, log_std = algorithm.actor(batch["observation"], batch["base_plan"])
    drawn = algorithm.actor.gathered(batch["residual"])
    log_prob = torch.distributions.Normal(mean, log_std.exp()).log_prob(drawn).sum(-1)
    ratio, gain = (log_prob - batch["log_prob"]).exp(), batch["advantage"]
    clip = algorithm.algo.clip
    loss = -torch.minimum(ratio * gain, ratio.clamp(1 - clip, 1 + clip) * gain).mean()
    loss = loss - 0.3 * algorithm.actor.entropy()
    if isinstance(algorithm, PPO):
        value = algorithm.value(batch["observation"])
        near = batch["value"] + (value - batch["value"]).clamp(-0.2, 0.2)
        errors = ((each - batch["wanted"]).square() for each in (value, near))
        loss = loss + algorithm.algo.value_weight * torch.maximum(*errors).mean() / 2
    else:
        apart = batch["reference_log_prob"] - log_prob
        loss = loss + 0.1 * (apart.exp() - 1 - apart).mean()
    expected = torch.autograd.grad(loss, algorithm._parameters)
    algorithm.update(batch)
    for parameter, gradient in zip(algorithm._parameters, expected, strict=True):
        torch.testing.assert_close(parameter.grad, gradient, rtol=1e-4, atol=1e-6)
