"""A better policy that takes over by itself."""

from pathlib import Path

import numpy as np
import pytest
import torch

from actor.interventions.error import InterventionError
from actor.interventions.expert import Expert
from actor.interventions.make import make_source
from actor.interventions.takeover import Takeover
from actor.policy.checkpoint_file import write_checkpoint
from actor.policy.contract import CheckpointError
from actor.policy.noise import Use, keys_at, uniform
from actor.rollout import Rollout
from config.compose import compose_config, write_config
from config.section import ConfigError
from protocol.arrays import Columns
from tests.support.fakes import CountingBase, ScriptedEnvironment
from tests.support.helpers import collect, make_config, make_policy
from tests.support.interventions import EVERY, intervention_spec

WORDS = (f"algo.residual_every={EVERY}", "algo.residual_scale=0.1")


def played(
    lengths: list[list[int]],
    frames: int,
    *,
    probability: float,
    after: int | None = None,
    first_seed: int = 0,
) -> tuple[Columns, CountingBase]:
    """A policy whose plans are near 0.1, and an expert whose plans are 3 higher and cut to 1."""
    config, count = make_config(*WORDS), len(lengths)

    class Better(CountingBase):
        def plan(self, *given, **more):
            return super().plan(*given, **more) + 3

    better = Better()
    policies = [
        make_policy(base, config, count, EVERY, first_seed=first_seed) for base in (CountingBase(), better)
    ]
    expert = Expert(
        policies[1], num_envs=count, first_seed=first_seed, probability=probability, after_frames=after
    )
    takeover = Takeover(policies[0], expert, config.algo.residual_scale)
    rollout = Rollout(ScriptedEnvironment(lengths), takeover, intervention_spec(), first_seed)
    return collect(rollout, frames), better


def test_it_acts_in_whole_episodes_that_their_own_seeds_choose():
    columns, _ = played([[8], [8]], 8 * 40, probability=0.3)
    seeds = columns["sub_env"] + 2 * columns["episode"]
    wanted = uniform(keys_at(seeds, 0, Use.TAKEOVER), 1)[:, 0] < 0.3
    np.testing.assert_array_equal(columns["intervention"], np.repeat(wanted[:, None], EVERY, axis=1))
    assert 0.15 < wanted.mean() < 0.45
    assert (columns["action"][wanted] == 1).all()
    np.testing.assert_array_equal(columns["action"][~wanted], columns["base_plan"][~wanted].clip(-1, 1))


def test_an_episode_is_the_same_when_it_is_played_alone():
    together, _ = played([[8], [8]], 8 * 10, probability=0.5)
    alone, _ = played([[8]], 8, probability=0.5, first_seed=7)
    rows = (together["sub_env"] == 1) & (together["episode"] == 3)
    np.testing.assert_array_equal(together["intervention"][rows], alone["intervention"])


def test_it_takes_over_where_an_episode_has_gone_on_for_long():
    columns, _ = played([[12]], 12, probability=0.0, after=6)
    assert columns["intervention"].reshape(-1).tolist() == [False] * 6 + [True] * 6


def test_it_plans_only_where_it_acts():
    _, better = played([[12], [12]], 24, probability=0.0, after=10)
    # Frames 10 and 11 of two episodes, in both sub-environments.
    assert better.planned == 4
    assert played([[12]], 24, probability=0.0)[1].planned == 0


def expert_run(folder: Path, *words: str) -> Path:
    folder.mkdir()
    write_config(folder / "config.yaml", compose_config(["base=zero", *words]))
    return folder


def source_of(folder: Path, *words: str) -> object:
    config = compose_config(
        ["actor.intervene=expert", f"actor.expert.run={folder}", f"runs_dir={folder.parent}", *words]
    )
    envs = ScriptedEnvironment([[8]], action_dim=7)
    envs.observation_dim = 42
    return make_source(config, envs, 0)


def test_the_base_of_another_run_is_an_expert(tmp_path: Path):
    folder = expert_run(tmp_path / "theirs")
    source = source_of(folder, "actor.expert.checkpoint=base", "actor.expert.probability=1.0")
    assert isinstance(source, Expert)
    source.begin(torch.zeros(1, 42))
    taken = source.act(torch.ones(1, 7))
    assert taken.acting.tolist() == [True] and not taken.action.any()
    assert source_of(Path("theirs"), f"runs_dir={tmp_path}", "actor.expert.checkpoint=base")


def test_without_a_run_the_expert_is_scripted_for_the_task():
    """PickCube's goes up where the gripper is beside the cube, and carries a grasped cube to the goal."""
    config = compose_config(["actor.intervene=expert", "actor.expert.probability=1.0", "base=zero"])
    envs = ScriptedEnvironment([[8], [8]], action_dim=7)
    envs.observation_dim = 42
    source = make_source(config, envs, 0)
    assert isinstance(source, Expert)
    beside, grasped = torch.zeros(2, 42)
    beside[29:32] = torch.tensor([0.1, 0.0, 0.02])
    grasped[18], grasped[26:29] = 1, torch.tensor([0.0, -0.2, 0.05])
    source.begin(torch.stack([beside, beside]))
    source.observe(torch.stack([beside, grasped]))
    taken = source.act(torch.ones(2, 7))
    assert taken.acting.tolist() == [True, True]
    torch.testing.assert_close(
        taken.action, torch.tensor([[0, 0, 0.3, 0, 0, 0, 1], [0, -0.3, 0.15, 0, 0, 0, -1.0]])
    )


@pytest.mark.parametrize(
    ("error", "said", "words"),
    [
        (ConfigError, "StackCube-v1 has no scripted expert; FetchReach-v4, ", ["task=stack_cube"]),
        (ConfigError, "acts in control mode pd_ee_delta_pose", ["task.control_mode=pd_joint_delta_pos"]),
        (InterventionError, "reads an observation of 42 numbers, the run's has 3", []),
    ],
)
def test_a_task_without_a_script_is_one_line(error: type[Exception], said: str, words: list[str]):
    config = compose_config(["actor.intervene=expert", "base=zero", *words])
    with pytest.raises(error, match=said) as raised:
        make_source(config, ScriptedEnvironment([[8]], action_dim=7), 0)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("error", "said", "words"),
    [
        (ConfigError, "is no run: name a run's folder", ["actor.expert.run=nowhere"]),
        (ConfigError, "best.safetensors is missing: give best, newest, base, or a file", []),
        (CheckpointError, "does not fit this algo, base and task", ["actor.expert.checkpoint={folder}/x.pt"]),
    ],
)
def test_an_expert_that_cannot_act_is_one_line(
    tmp_path: Path, error: type[Exception], said: str, words: list[str]
):
    folder = expert_run(tmp_path / "theirs")
    write_checkpoint(folder / "x.pt", {"version": 1})
    with pytest.raises(error, match=said) as raised:
        source_of(folder, *(word.format(folder=folder) for word in words))
    assert "\n" not in str(raised.value)


def test_an_expert_with_other_actions_is_one_line(tmp_path: Path):
    folder = expert_run(tmp_path / "theirs", "task.control_mode=pd_joint_delta_pos")
    with pytest.raises(InterventionError, match="acts in control mode pd_joint_delta_pos, this run in pd_ee"):
        source_of(folder, "actor.expert.checkpoint=base")
    folder = expert_run(tmp_path / "others", "task=stack_cube")
    with pytest.raises(CheckpointError, match="takes 48 observation dimensions"):
        source_of(folder, "actor.expert.checkpoint=base")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ((), "looks at base_camera, which is not in task.cameras"),
        (
            ("task.cameras=[base_camera]",),
            r"looks at pictures of \[64, 64\], task\.camera_size is \[128, 128\]",
        ),
    ],
)
def test_an_expert_that_sees_what_this_run_does_not_show_is_one_line(words, says, tmp_path: Path):
    sees = ("algo.sees=[pictures]", "task.cameras=[base_camera]", "task.camera_size=[64,64]")
    folder = expert_run(tmp_path / "theirs", *sees, "learner.demos=null", "algo.prior_fraction=0")
    (folder / "checkpoints").mkdir(exist_ok=True)
    (folder / "checkpoints" / "best.safetensors").touch()
    with pytest.raises(InterventionError, match=says):
        source_of(folder, *words, "actor.expert.checkpoint=best")


def test_nobody_acts_in_other_actors_of_such_a_run():
    envs = ScriptedEnvironment([[8], [8]])
    source = make_source(compose_config(["learner.interventions=true"]), envs, 0)
    assert source is not None and not source.act(torch.zeros(2, 2)).acting.any()
    assert make_source(compose_config([]), envs, 0) is None
