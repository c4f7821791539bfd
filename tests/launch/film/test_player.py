"""Laws of playing a seed again: it is the evaluation's episode to the bit, alone and with a camera.

What the camera would see is made up here from the state; tests/launch/film/test_real_films.py has a real one.
"""

from collections.abc import Iterator
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch

from actor.evaluate_base import make_policy
from actor.policy.checkpoint_file import write_safetensors
from actor.policy.contract import BasePolicy
from actor.policy.make import make_base
from actor.policy.residual import ResidualActor
from actor.simulators.maniskill import require_task, single_environment
from launch.show.film.player import Player, Shot, Stopped
from launch.show.film.roles import Role
from tests.support.helpers import make_config

FRAMES, FIRST = 9, 1_000_000
CONFIG = make_config(f"task.max_episode_steps={FRAMES}", f"learner.evaluation.first_seed={FIRST}")
BASE = Role("base", 0, None)


class Painted(gymnasium.Wrapper):
    """Draws the state's bytes."""

    def reset(self, **words: Any) -> Any:
        observation, info = self.env.reset(**words)
        self._seen = observation
        return observation, info

    def step(self, action: Any) -> Any:
        result = self.env.step(action)
        self._seen = result[0]
        return result

    def render(self) -> Any:
        return painted(self._seen)


def painted(state: np.ndarray) -> np.ndarray:
    return np.frombuffer(state.tobytes(), np.uint8).reshape(1, -1, 1).repeat(3, axis=2)


@pytest.fixture(scope="module")
def base() -> BasePolicy:
    require_task(CONFIG.task.env_id)
    return make_base(CONFIG.base, CONFIG.task, "cpu")


@pytest.fixture(scope="module")
def env(base: BasePolicy) -> Iterator[gymnasium.Env]:
    made = Painted(single_environment(CONFIG.task, 0, 1))
    yield made
    made.close()


@pytest.fixture(scope="module")
def full(base: BasePolicy, tmp_path_factory: pytest.TempPathFactory) -> Role:
    residual = ResidualActor(CONFIG.algo, base.observation_dim, base.action_dim)
    weights = torch.Generator().manual_seed(1)
    for value in residual.parameters():
        value.data.copy_(0.1 * torch.randn(value.shape, generator=weights))
    place = tmp_path_factory.mktemp("weights") / "v4.safetensors"
    write_safetensors(place, {"version": 4, "actor": residual.state_dict()})
    return Role("full", 4, place)


def evaluated(base: BasePolicy, role: Role, episodes: int) -> dict[int, list[np.ndarray]]:
    """Seed -> its states, of an evaluation with two sub-environments."""
    envs = [single_environment(CONFIG.task, FIRST + i, 2) for i in range(2)]
    policy = make_policy(CONFIG, base, role.residual, num_envs=2)
    states: dict[int, list[np.ndarray]] = {}
    for round_ in range(episodes // 2):
        newest = np.stack([env.reset()[0] for env in envs])
        played = [states.setdefault(FIRST + 2 * round_ + i, [newest[i]]) for i in range(2)]
        policy.begin(torch.from_numpy(newest), None if round_ == 0 else torch.ones(2, dtype=torch.bool))
        for _ in range(FRAMES):
            action = policy.act().action.numpy()
            newest = np.stack([env.step(action[i])[0] for i, env in enumerate(envs)])
            policy.observe(torch.from_numpy(newest))
            for i in range(2):
                played[i].append(newest[i])
    for env in envs:
        env.close()
    return states


def film(player: Player, role: Role, seed: int, every: int = 1) -> list[Shot]:
    return player.film(role, seed, every, drawn=lambda: None)


@pytest.mark.parametrize("plays", ["base", "full"])
def test_a_film_shows_the_evaluations_episode_to_the_bit(
    plays: str, base: BasePolicy, env: gymnasium.Env, full: Role
) -> None:
    role = full if plays == "full" else BASE
    player = Player(CONFIG, base, env, lambda: True)
    states = evaluated(base, role, episodes=4)
    for seed in reversed(states):
        shots = film(player, role, seed)
        for shot, state in zip(shots, states[seed], strict=True):
            np.testing.assert_array_equal(shot.picture, painted(state))


def test_a_film_has_every_second_frame_and_the_last_and_the_residuals_size(
    base: BasePolicy, env: gymnasium.Env, full: Role
) -> None:
    player, drawn = Player(CONFIG, base, env, lambda: True), list[int]()
    shots = player.film(full, FIRST, 2, drawn=lambda: drawn.append(1))
    assert [shot.frame for shot in shots] == [0, 2, 4, 6, 8, FRAMES] and len(drawn) == len(shots)
    assert [shot.ended for shot in shots] == [False] * 5 + [True]
    assert shots[0].residual == 0 and all(0 < shot.residual <= 1 for shot in shots[1:])
    alone = film(player, BASE, FIRST)
    assert {shot.residual for shot in alone} == {0.0} and len(alone) == FRAMES + 1
    assert (alone[-1].picture != shots[-1].picture).any()
    assert player.succeeds(full, FIRST) == shots[-1].success


def test_it_stops_within_a_frame(base: BasePolicy, env: gymnasium.Env) -> None:
    asked = iter([True, True, False])
    with pytest.raises(Stopped):
        film(Player(CONFIG, base, env, lambda: next(asked)), BASE, FIRST)
