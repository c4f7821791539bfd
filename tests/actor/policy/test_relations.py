"""Places seen from one another: against hand-computed numbers, and against ManiSkill's own."""

import msgspec
import numpy as np
import pytest
import torch
from rich.console import Console

from actor.policy.decorated import EvaluatedPolicy
from actor.policy.relations import Relations
from actor.policy.residual import ResidualActor
from actor.simulators.inspect import first_observation, show
from actor.simulators.maniskill import make_simulator
from config.compose import compose_config
from config.relation import Relation
from config.section import ConfigError
from learner.algorithms.residual_sac import ResidualSAC
from learner.checkpoints.policy_decorator import LayoutError, export_checkpoint
from tests.support.fakes import CountingBase
from tests.support.helpers import make_config

HALF = np.sqrt(0.5)


def relation(point: int, origin: int, tip: int | None = None, turned: bool = False) -> Relation:
    return Relation(point=point, tip=tip, origin=origin, turned=turned)


def test_differences_turns_and_tips_match_hand_computed_numbers():
    # A point at (1, 2, 3) whose x axis is the world's y (a quarter about z); an origin at (1, 1, 1), turned
    # a quarter about x (its y is the world's z, its z the world's -y); the length 0.5.
    observation = torch.tensor([[1, 2, 3, HALF, 0, 0, HALF, 1, 1, 1, HALF, HALF, 0, 0, 0.5]])
    relations = [
        relation(0, 7),
        relation(0, 7, tip=14),
        relation(0, 7, turned=True),
        relation(0, 7, 14, True),
    ]
    seen = Relations(relations, 15)
    metres = seen.metres(observation)[0]
    np.testing.assert_allclose(metres[0], [0, 1, 2], atol=1e-6)
    # asinh(sqrt(5) / 0.002) = log(2 * 1118.03) for numbers so large.
    np.testing.assert_allclose(seen.distances(observation)[0, 0], 7.71245, atol=1e-4)
    np.testing.assert_allclose(metres[1], [0, 1.5, 2], atol=1e-6)
    np.testing.assert_allclose(metres[2], [0, 2, -1], atol=1e-6)
    np.testing.assert_allclose(metres[3], [0, 2, -1.5], atol=1e-6)


def test_an_axis_is_a_direction_in_the_axes_of_the_origin():
    # The point's x axis is the world's y, then half way from the world's x to its y. The origin's y is the
    # world's z and its z the world's -y: in its axes the world's y is (0, 0, -1). Places count for nothing.
    eighth = [np.cos(np.pi / 8), 0, 0, np.sin(np.pi / 8)]
    origin = [1, 1, 1, HALF, HALF, 0, 0]
    observation = torch.tensor([[1, 2, 3, HALF, 0, 0, HALF, *origin], [7, 8, 9, *eighth, *origin]])
    axes = [Relation(point=0, tip="axis", origin=7, turned=turned) for turned in (False, True)]
    metres = Relations([*axes, relation(0, 7)], 14).metres(observation.float())
    half = HALF / 10
    np.testing.assert_allclose(metres[0], [[0, 0.1, 0], [0, 0, -0.1], [0, 1, 2]], atol=1e-6)
    np.testing.assert_allclose(metres[1], [[half, half, 0], [half, 0, -half], [6, 7, 8]], atol=1e-6)
    assert axes[1].text == "axis of 0 from 7 turned" and axes[1].last == 13
    with pytest.raises(ConfigError, match=r"algo\.relations: axis of 1 from 0 reads index 7"):
        Relations([Relation(point=1, tip="axis", origin=0, turned=False)], 7)


def test_the_tilt_of_the_peg_is_what_maniskill_says():
    words = "algo.relations=[{point: peg_pose, tip: axis, origin: box_hole_pose, turned: true}]"
    config = compose_config(["task=peg_insertion_side", words])
    env = make_simulator(config.task, "physx_cpu", 1)
    try:
        observation, _ = env.reset(seed=0)
        seen = env.unwrapped.box_hole_pose.inv() * env.unwrapped.peg.pose
        [metres] = Relations(config.algo.relations, observation.shape[1]).metres(observation.float())[0]
        turn = seen.to_transformation_matrix()[0, :3, 0]
        np.testing.assert_allclose(metres, 0.1 * turn, atol=1e-6)
    finally:
        env.close()


def test_they_stand_behind_the_observation_in_steps_that_grow():
    related = Relations([relation(0, 3), relation(3, 0)], 6)
    observation = torch.tensor([[0.0, 0.002, 0.2, 0, 0, 0], [0, 0, 0, 0, 0, 0]])
    seen = related(observation)
    assert related.observation_dim == 12
    assert torch.equal(seen[:, :6], observation)
    # asinh(1) = log(1 + sqrt 2); asinh(100) = log(100 + sqrt 10001).
    np.testing.assert_allclose(
        seen[0, 6:9], [0, np.log(1 + np.sqrt(2)), np.log(100 + np.sqrt(10001))], rtol=1e-5
    )
    assert torch.equal(seen[:, 9:], -seen[:, 6:9])
    assert torch.equal(Relations([], 6)(observation), observation)


@pytest.mark.parametrize("seed", [0, 1])
def test_the_pegs_head_in_the_hole_is_where_maniskill_says(seed):
    task = compose_config(["task=peg_insertion_side"]).task
    env = make_simulator(task, "physx_cpu", 1)
    try:
        observation, _ = env.reset(seed=seed)
        env.action_space.seed(seed)
        related = Relations(task.relations[task.env_id], observation.shape[1])
        for _ in range(5):
            info = env.unwrapped.evaluate()
            metres = related.metres(observation.float())[0]
            np.testing.assert_allclose(metres[0], info["peg_head_pos_at_hole"][0], atol=1e-5)
            observation = env.step(env.action_space.sample())[0]
    finally:
        env.close()


def test_the_networks_see_them_and_what_they_do_there_is_the_residual():
    config = make_config(
        "algo.residual_every=4", "algo.relations=[{point: 0, tip: null, origin: 1, turned: false}]",
        "algo.last_layer_gain=1",
    )  # fmt: skip
    algorithm = ResidualSAC(config.algo, 4, 2, seed=0, device="cpu")
    base = CountingBase(observation_dim=4)
    observation, plan = torch.randn(3, 4), torch.zeros(3, 8)
    seen = torch.cat([observation, torch.asinh((observation[:, :3] - observation[:, 1:]) / 0.002)], dim=1)
    assert torch.equal(algorithm.actor.sight(observation), seen)
    policy = EvaluatedPolicy(
        base, algorithm.actor, num_envs=3, residual_every=4, residual_scale=0.1, device="cpu",
        first_seed=0,
    )  # fmt: skip
    policy.begin(observation)
    chosen = policy.act()
    expected = algorithm.actor.mode(seen, chosen.base_plan.flatten(1))
    assert torch.equal(chosen.residual.flatten(1), expected)
    moved = observation + torch.tensor([0.0, 0.01, 0, 0])
    other = algorithm.actor.mode(algorithm.actor.sight(moved), plan)
    assert not torch.equal(other, algorithm.actor.mode(seen, plan))


def test_an_update_reads_them_and_noise_is_of_what_the_networks_see():
    words = ("algo.residual_every=4", "algo.relations=[{point: 0, tip: null, origin: 1, turned: false}]")
    for noise in (0, 0.03):
        config = make_config(*words, f"algo.observation_noise={noise}", "algo.batch_size=8")
        algorithm = ResidualSAC(config.algo, 4, 2, seed=0, device="cpu")
        batch = {
            "observation": torch.randn(8, 4), "base_plan": torch.rand(8, 8), "residual": torch.rand(8, 8),
            "reward": torch.zeros(8), "discount": torch.ones(8), "next_observation": torch.randn(8, 4),
            "next_base_plan": torch.rand(8, 8),
        }  # fmt: skip
        seen = algorithm._seen(batch)
        moved = (seen["observation"] - algorithm.actor.sight(batch["observation"])).abs()
        assert moved.shape == (8, 7)
        # Six deviations, whatever the observation's numbers are: of the relation's own numbers.
        assert moved.max() == 0 if noise == 0 else 0 < moved.max() < 6 * noise
        algorithm.update(batch)
        assert algorithm.updates == 1


def test_a_relation_of_numbers_that_are_not_there_names_itself():
    algo = make_config("algo.residual_every=4").algo
    for wrong in (relation(2, 0), relation(0, 2), relation(0, 1, turned=True), relation(0, 1, tip=0)):
        with pytest.raises(ConfigError, match=r"algo\.relations: .* dimension is 4"):
            ResidualActor(msgspec.structs.replace(algo, relations=(wrong,)), 4, 2)
    ResidualActor(msgspec.structs.replace(algo, relations=(relation(1, 0),)), 4, 2)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("[{point: -1, tip: null, origin: 0, turned: false}]", "point must be at least 0"),
        ("[{point: 1, tip: -2, origin: 0, turned: false}]", "tip must be at least 0, axis or null"),
        ("[{point: 1, origin: 0, turned: false}]", "tip"),
        ("[{point: 1, tip: null, origin: 0, turned: false, axes: 3}]", "axes"),
    ],
)
def test_a_relation_that_is_none_names_the_key(value, words):
    with pytest.raises(ConfigError, match=r"relations") as raised:
        compose_config([f"algo.relations={value}"])
    assert words in str(raised.value)


def test_they_are_those_of_the_task_that_is_played_and_the_published_recipe_has_none():
    for name in ("pick_cube", "stack_cube", "peg_insertion_side", "peg_insertion_side_bounded"):
        config = compose_config([f"task={name}"])
        assert config.algo.relations == config.task.relations[config.task.env_id] != ()
    assert compose_config(["task.env_id=PushCube-v1"]).algo.relations == ()
    assert compose_config(["algo=policy_decorator"]).algo.relations == ()


@pytest.mark.parametrize("name", ["pick_cube", "stack_cube"])
def test_the_cubes_are_where_maniskill_says(name):
    task = compose_config([f"task={name}"]).task
    parts = first_observation(task, seed=5)
    whole = torch.cat([*parts.values()])[None]
    metres = Relations(task.relations[task.env_id], whole.shape[1]).metres(whole)[0]
    names = (
        ("tcp_to_obj_pos", "obj_to_goal_pos")
        if name == "pick_cube"
        else ("tcp_to_cubeA_pos", "cubeA_to_cubeB_pos")
    )
    for row, part in zip(metres, names, strict=True):
        np.testing.assert_allclose(row, parts[f"extra.{part}"], atol=1e-6)


def test_learner_and_actor_of_different_relations_are_told_apart():
    config = make_config()
    other = msgspec.structs.replace
    with_one = other(config.algo, relations=(relation(0, 3),))
    with_another = other(config.algo, relations=(relation(0, 3, turned=True),))
    assert len({algo.describe() for algo in (config.algo, with_one, with_another)}) == 3


def test_the_published_layout_has_none():
    config = make_config("algo=policy_decorator", "algo.residual_every=4")
    algo = msgspec.structs.replace(config.algo, relations=(relation(0, 3),))
    algorithm = ResidualSAC(algo, 6, 2, seed=0, device="cpu")
    content = algorithm.state() | {"algo": msgspec.to_builtins(algo)}
    with pytest.raises(LayoutError, match=r"only algo\.relations=\[\]"):
        export_checkpoint(content)


@pytest.mark.slow
def test_the_table_of_numbers_is_that_of_the_observation(capsys):
    config = compose_config(["task=peg_insertion_side", "learner.evaluation.first_seed=3"])
    task = config.task
    parts = first_observation(task, seed=3)
    env = make_simulator(task, "physx_cpu", 1)
    try:
        observation, _ = env.reset(seed=3)
        head = env.unwrapped.evaluate()["peg_head_pos_at_hole"][0]
    finally:
        env.close()
    assert torch.equal(torch.cat([*parts.values()]), observation[0].float())
    show(config, Console(width=200))
    printed = capsys.readouterr().out
    assert "25 .. 31" in printed and "extra.peg_pose" in printed
    assert "extra.peg_pose + extra.peg_half_size ahead from extra.box_hole_pose turned" in printed
    assert " ".join(f"{value:.3f}" for value in head.tolist()) in printed
    wrong = compose_config(
        ["task=peg_insertion_side", "algo.relations=[{point: 41, tip: null, origin: 0, turned: false}]"]
    )
    with pytest.raises(ConfigError, match=r"algo\.relations: 41 from 0 reads index 43"):
        show(wrong, Console())
