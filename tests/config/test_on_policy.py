"""What does not fit ppo and grpo is refused in one line."""

import pytest

from config.compose import compose_config
from config.section import ConfigError


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["algo=grpo", "algo.group_size=8"], "algo.group_size=8 must divide actor.num_envs=6"),
        (["algo=grpo", "actor.num_envs=8", "actor.backend=physx_cuda"], "actor.backend must be physx_cpu"),
        (["algo=grpo", "actor.num_envs=8", "task.success=classifier:x"], "task.success must be simulator"),
        (
            ["algo=ppo", "algo.batch_decisions=64", "actor.num_envs=64"],
            "algo.batch_decisions must be at least",
        ),
        (["algo=ppo", "algo.batch_decisions=32"], "at least algo.minibatch_size=64"),
        (["algo=ppo", "algo.max_version_lag=2"], "max_version_lag must be 0 or 1"),
        (["algo=ppo", "actor.intervene=keyboard"], "learns from its own decisions alone"),
        (["algo=ppo", "algo.residual_every=3"], "algo.residual_every must divide base.act_horizon=4"),
        (["algo=ppo", "learner.hindsight_goals=4"], "learner.hindsight_goals must be 0"),
        (["task.reward_mode=normalized_dense"], "task.reward_mode must be sparse for algo=residual_td3"),
    ],
)
def test_what_does_not_fit_is_refused(words: list[str], message: str) -> None:
    with pytest.raises(ConfigError) as refused:
        compose_config(words)
    assert message in str(refused.value) and "\n" not in str(refused.value)


def test_without_a_base_the_policy_sets_the_whole_action_in_each_frame() -> None:
    alone = compose_config(["algo=ppo", "base=zero", "learner.demos=null", "task=fetch_reach"]).algo
    on_base = compose_config(["algo=ppo", "task=fetch_push"]).algo
    assert (alone.residual_every, alone.scale) == (1, 1.0)
    assert (on_base.residual_every, on_base.scale) == (4, 0.2)
