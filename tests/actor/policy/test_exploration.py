"""Mask and noise of an episode are its own: it can be played again alone."""

import pytest
import torch
from torch import Tensor

from actor.policy.diffusion.base import DiffusionBase
from actor.policy.residual import ResidualActor
from config.main import Config
from learner.schedule.pace import Pace
from tests.support.behaviour import residual_acts
from tests.support.diffusion import small_agent
from tests.support.fakes import CountingBase
from tests.support.helpers import make_config, make_policy

ENVS, FIRST_SEED, FRAMES = 6, 1000, 40
LENGTHS = (7, 9, 16, 10, 30, 13)  # of the episodes in each sub-environment
BEHAVIOURS = {
    "masked episodes, noise that lasts, a ladder": residual_acts(
        0.6, mask_episodes=True, noise_std=0.4, noise_ladder=True, noise_probability=0.3, noise_decisions=5
    ),
    "masked decisions, noise that lasts": residual_acts(
        0.5, noise_std=0.4, noise_probability=0.3, noise_decisions=3
    ),
    "uniform": residual_acts(0.7, uniform=True),
}


def observed(seed: int, frame: int) -> Tensor:
    """What a simulator shows at a frame of an episode."""
    return torch.randn(5, generator=torch.Generator().manual_seed(1000 * seed + frame))


def explorer(config: Config, behaviour, num_envs: int, first_seed: int, ladder: list[float] | None = None):
    base = DiffusionBase(small_agent(prediction_type="sample"), 4, 4, native=True)
    policy = make_policy(base, config, num_envs, 2, first_seed=first_seed, ladder=ladder)
    torch.manual_seed(3)
    made = ResidualActor(config.algo, 5, 3)
    torch.nn.init.normal_(made.head.weight, std=0.1)
    policy.adopt(1, made.state_dict(), behaviour)
    return policy


def play_together(policy) -> dict[int, list[Tensor]]:
    """Episode's seed -> what was done in each of its frames; episodes end at different frames."""
    seeds, frame, played = [FIRST_SEED + i for i in range(ENVS)], [0] * ENVS, {}
    policy.begin(torch.stack([observed(seed, 0) for seed in seeds]))
    for _ in range(FRAMES):
        chosen = policy.act()
        for i, seed in enumerate(seeds):
            played.setdefault(seed, []).append(torch.cat([chosen.action[i], chosen.residual[i].flatten()]))
        frame = [count + 1 for count in frame]
        over = torch.tensor([frame[i] == LENGTHS[i] for i in range(ENVS)])
        seeds = [seed + ENVS * int(over[i]) for i, seed in enumerate(seeds)]
        frame = [0 if over[i] else count for i, count in enumerate(frame)]
        newest = torch.stack([observed(*each) for each in zip(seeds, frame, strict=True)])
        policy.observe(newest)
        if over.any():
            policy.begin(newest, over)
    return played


@pytest.mark.parametrize("algo", ["residual_td3", "policy_decorator"])
@pytest.mark.parametrize("name", BEHAVIOURS)
def test_an_episode_played_again_alone_is_the_same_to_the_bit(name: str, algo: str) -> None:
    config, behaviour = make_config(f"algo={algo}", "algo.residual_every=2"), BEHAVIOURS[name]
    played = play_together(explorer(config, behaviour, ENVS, FIRST_SEED))
    assert len(played) > 15
    for seed, together in played.items():
        place = (seed - FIRST_SEED) % ENVS / (ENVS - 1)
        alone = explorer(config, behaviour, 1, seed, ladder=[place])
        alone.begin(observed(seed, 0)[None])
        for frame, expected in enumerate(together):
            chosen = alone.act()
            assert torch.equal(torch.cat([chosen.action[0], chosen.residual[0].flatten()]), expected)
            alone.observe(observed(seed, frame + 1)[None])


@pytest.mark.parametrize("name", BEHAVIOURS)
def test_no_two_episodes_have_the_same_noise(name: str) -> None:
    config = make_config("algo.residual_every=4")
    base = DiffusionBase(small_agent(prediction_type="sample"), 4, 4, native=True)
    residuals = []
    for first_seed in (0, 10_000_000):  # two actors
        policy = make_policy(base, config, 200, 4, first_seed=first_seed)
        policy.behaviour = BEHAVIOURS[name]
        policy.begin(torch.zeros(200, 5))
        for _ in range(2):
            chosen = policy.act()
            assert len(chosen.base_plan.flatten(1).unique(dim=0)) == 200
            residuals.append(chosen.residual.flatten(1))
            policy.begin(torch.zeros(200, 5), torch.ones(200, dtype=torch.bool))
    acted = torch.cat(residuals)
    acted = acted[acted.any(dim=1)]
    assert len(acted) > 100 and len(acted.unique(dim=0)) == len(acted)


def test_until_learning_starts_dawn_plays_the_base_alone():
    config = make_config("algo=dawn", "algo.residual_every=4")
    policy = make_policy(CountingBase(), config, num_envs=8, residual_every=4)
    before = Pace(config.algo, 0, 10**6).behaviour()
    policy.adopt(1, ResidualActor(config.algo, 3, 2).state_dict(), before)
    policy.begin(torch.zeros(8, 3))
    residual = policy.act().residual
    assert before.mask_probability == 1 and not before.uniform
    # exp(-9), the middle of the deviations that there are, times a normal number.
    assert 0 < residual.abs().max() < 1e-3
