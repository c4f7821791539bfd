"""Keys of the algorithm: what each is for, and how removed keys are refused."""

from pathlib import Path
from typing import cast

import pytest
from omegaconf import OmegaConf

from config.algo import AlgoConfig
from config.compose import compose_config, read_config, write_config
from config.earlier import REMOVED
from config.section import ConfigError
from tests.support.helpers import ROOT, make_config

MOST_KEYS = 46
# Keys that both recipes have alike, each with the start of the row of docs/recipe.md that measured it.
KNOBS = {
    "noise_decisions": "independent noise of .1 in every decision",
    "noise_ladder": "independent noise of .1 in every decision",
    "noise_probability": "independent noise of .1 in every decision",
    "utd": "a quarter of an update per decision",
    "actor_lr": "1,500 updates of the critics alone, actor every second update at 1e-4",
}
# What a residual may see is a user's choice, not a recipe's: docs/how-to/what-the-residual-sees.md.
SIGHT = {"sees", "critics_see", "proprioception", "pictures"}


def recipe(name: str) -> dict[str, object]:
    """As written, references unresolved."""
    raw = OmegaConf.load(ROOT / "config" / "algo" / f"{name}.yaml")
    return cast(dict[str, object], OmegaConf.to_container(raw, resolve=False))


def test_every_key_differs_between_the_shipped_recipes_or_was_measured() -> None:
    default, published = recipe("residual_td3"), recipe("policy_decorator")
    assert default.keys() == published.keys() == {"kind", *AlgoConfig.__struct_fields__}
    alike = {key for key in default if default[key] == published[key]}
    assert alike == {"kind", *KNOBS, *SIGHT}
    rows = (ROOT / "docs" / "recipe.md").read_text()
    assert [row for row in KNOBS.values() if f"\n| {row}" not in rows] == []


def test_there_are_few_keys() -> None:
    assert len({*AlgoConfig.__struct_fields__} - SIGHT) <= MOST_KEYS


@pytest.mark.parametrize("prefix", ["", "+", "++"])
@pytest.mark.parametrize("removed", REMOVED)
def test_a_removed_key_is_refused_in_one_line_that_says_what_to_do(removed: str, prefix: str) -> None:
    word = removed if "=" in removed else f"{removed}=1"
    with pytest.raises(ConfigError) as refused:
        compose_config([f"{prefix}algo.{word}"])
    assert str(refused.value) == f"configuration: algo.{removed} was removed: {REMOVED[removed]}"


def test_a_removed_key_in_a_file_is_refused_as_well(tmp_path: Path) -> None:
    place = tmp_path / "launch.yaml"
    write_config(place, compose_config([]))
    place.write_text(place.read_text().replace("algo:\n", "algo:\n  reward_scale: 2.0\n"))
    with pytest.raises(ConfigError, match=r"algo\.reward_scale was removed"):
        read_config(place)


def test_no_removed_key_is_a_key() -> None:
    assert REMOVED.keys().isdisjoint(AlgoConfig.__struct_fields__)


@pytest.mark.parametrize(("reward", "low", "high"), [("sparse", 0, 1), ("sparse_minus_one", -10, 0)])
def test_targets_are_clipped_to_what_the_reward_allows(reward: str, low: float, high: float) -> None:
    words = (f"algo.reward={reward}", "algo.gamma=0.9")
    assert make_config(*words, "algo.target_clip=reachable").algo.target_range == pytest.approx((low, high))
    assert make_config(*words, "algo.target_clip=null").algo.target_range is None
    assert make_config(*words, "algo.target_clip=[-2, 3]").algo.target_range == (-2.0, 3.0)


def test_residual_recipes_learn_from_the_sparse_reward_alone() -> None:
    with pytest.raises(ConfigError, match=r"task\.reward_mode must be sparse"):
        make_config("task.reward_mode=normalized_dense")


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("algo.actor_input=obs_base_action", "actor_input must be obs for kind=steering"),
        ("algo.critic_input=sum", "critic_input must be residual for kind=steering"),
        ("algo.clip_action=true", "clip_action must be false"),
        ("algo.residual_dims=[0]", "residual_dims must be null"),
        ("algo.uniform_until_learning=true", "uniform_until_learning must be false"),
        ("algo.prior_fraction=0.5", "prior_fraction must be 0"),
        ("algo.mask_by=success", "mask_by must be decisions"),
        ("algo.residual_every=2", "algo.residual_every must be base.act_horizon=4"),
        ("learner.interventions=true", "set actor.intervene=null"),
        ("base=zero", "algo=dsrl chooses the noise of a diffusion policy: set base=diffusion"),
        ("base.pad_obs_to=50", "and base.pad_obs_to=null"),
    ],
)
def test_what_does_not_go_with_chosen_noise_is_refused(word: str, said: str) -> None:
    with pytest.raises(ConfigError) as refused:
        compose_config(["algo=dsrl", word])
    assert said in str(refused.value)
