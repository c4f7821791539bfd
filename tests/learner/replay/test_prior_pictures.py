"""Prior data with pictures, for a base that looks at cameras."""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from lerobot.datasets.lerobot_dataset import LeRobotDataset

from actor.policy.decorated import DecoratedPolicy
from actor.policy.features import FeaturedBase
from actor.policy.make import make_base
from actor.policy.noise import Use, keys_at
from actor.policy.spec import experience_spec
from actor.rollout import Rollout
from config.algo import AlgoConfig
from config.main import Config
from learner.replay.memory.batches import Batches
from learner.replay.prior.demonstration import Demonstration
from learner.replay.prior.error import DemonstrationError
from learner.replay.prior.lerobot import write_lerobot
from learner.replay.prior.maniskill import write_maniskill
from learner.replay.prior.prior import PriorData
from learner.replay.run import load_prior, make_prior_ring, make_ring, make_store
from tests.support.camera_policies import HEIGHT, ROBOT, TOP, WIDTH, save_policy
from tests.support.fakes import ScriptedEnvironment
from tests.support.helpers import collect, make_config
from tests.support.lerobot_policies import STATE

OBSERVATION, ACTION, EVERY = 42, 7, 4
CAMERA = "base_camera"


@pytest.fixture(scope="module", params=["act", "diffusion"])
def policy(request: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_policy(tmp_path_factory.mktemp(request.param), request.param, (TOP,))[0]


def make_episodes(lengths: tuple[int, ...]) -> list[Demonstration]:
    draw = np.random.default_rng(0)
    return [
        Demonstration(
            draw.normal(size=(frames + 1, OBSERVATION)).astype(np.float32),
            draw.uniform(-1, 1, (frames, ACTION)).astype(np.float32),
            np.arange(frames) == frames - 1,
            pictures={CAMERA: draw.integers(0, 256, (frames, HEIGHT, WIDTH, 3), dtype=np.uint8)},
        )
        for frames in lengths
    ]


EPISODES = make_episodes((9, 4, 6))


@pytest.fixture(scope="module")
def demos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("demos") / "lerobot"
    write_lerobot(folder, EPISODES, task="PickCube-v1", robot_type="panda", fps=20)
    return folder


def config_of(policy: Path, *words: str, size: tuple[int, int] = (WIDTH, HEIGHT)) -> Config:
    return make_config(
        "base=lerobot", f"base.path={policy}", f"task.cameras=[{CAMERA}]", f"task.camera_size={list(size)}",
        f"base.cameras={{{TOP}: {CAMERA}}}", f"base.observation={{{STATE}: [0, {ROBOT}]}}",
        f"base.act_horizon={EVERY}", f"algo.residual_every={EVERY}", "algo.sees=[features]",
        "algo.prior_fraction=0.5", "name=run", *words,
    )  # fmt: skip


def loaded(config: Config) -> tuple[PriorData, FeaturedBase]:
    base = make_base(config.base, config.task, "cpu")
    prior = load_prior(config, base)
    assert prior is not None and isinstance(base, FeaturedBase)
    return prior, base


@torch.no_grad()
def at(
    base: FeaturedBase, episode: Demonstration, number: int, frame: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Plan and features at one frame, with the pictures that were recorded there."""
    seen = np.clip(np.arange(frame - base.obs_horizon + 1, frame + 1), 0, None)
    images = {CAMERA: torch.from_numpy(episode.pictures[CAMERA][seen][None])}
    keys = keys_at(number, np.array([frame]), Use.BASE)
    return base.plan_with_features(torch.from_numpy(episode.observations[seen][None]), keys, images)


def check_prior(prior: PriorData, base: FeaturedBase) -> None:
    row = 0
    for number, episode in enumerate(EPISODES):
        for frame in range(0, len(episode.actions), EVERY):
            plan, features = at(base, episode, number, frame)
            wanted = plan[0].numpy().reshape(EVERY, -1)
            np.testing.assert_allclose(prior.columns["base_plan"][row], wanted, atol=2e-5)
            np.testing.assert_allclose(prior.columns["features"][row], features[0].half(), atol=2e-2)
            row += 1
    assert row == len(prior.columns["frames"])


def test_plans_and_features_are_those_of_the_recorded_pictures(policy: Path, demos: Path) -> None:
    config = config_of(policy, f"learner.demos={demos}")
    prior, base = loaded(config)
    check_prior(prior, base)
    features = prior.columns["features"]
    assert np.abs(features[0] - features[1]).max() > 0.05, "pictures make no difference"
    ring = make_prior_ring(prior, config, base)
    assert ring.observation.shape[1] == OBSERVATION + base.features_dim


def test_they_are_computed_once(policy: Path, demos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = config_of(policy, f"learner.demos={demos}")
    first, _ = loaded(config)
    monkeypatch.setattr(LeRobotDataset, "__getitem__", lambda *_: pytest.fail("a picture is read again"))
    again, _ = loaded(config)
    for name in ("base_plan", "features"):
        np.testing.assert_array_equal(again.columns[name], first.columns[name])


class WideEnvironment(ScriptedEnvironment):
    """With the task's dimensions, and pictures as large as the policy's, a gradient that moves."""

    def __init__(self, lengths: list[list[int]]) -> None:
        super().__init__(lengths, action_dim=ACTION, cameras=(CAMERA,))
        self.observation_dim = OBSERVATION

    def _observation(self, env: int) -> list[float]:
        return super()._observation(env) + [0.1] * (OBSERVATION - 3)

    def pictures(self, observation: torch.Tensor) -> dict[str, torch.Tensor]:
        row = torch.arange(WIDTH) * 3 + observation[:, :1] * 5
        return {CAMERA: row.to(torch.uint8)[:, None, :, None].repeat(1, HEIGHT, 1, 3)}


def test_other_pictures_at_the_same_states_are_looked_at_again(policy: Path, tmp_path: Path) -> None:
    dark = [replace(each, pictures={CAMERA: each.pictures[CAMERA] // 4}) for each in EPISODES]
    config = config_of(policy, f"learner.demos={tmp_path / 'demos'}")
    found: list[np.ndarray] = []
    for episodes in (EPISODES, dark):
        write_lerobot(tmp_path / "demos", episodes, task="PickCube-v1", robot_type="panda", fps=20)
        found.append(loaded(config)[0].columns["features"])
        shutil.rmtree(tmp_path / "demos")
    assert np.abs(found[0] - found[1]).max() > 0.05


@pytest.mark.parametrize("kept", ["image", "video"])
def test_a_replay_is_prior_data_too(policy: Path, kept: str, tmp_path: Path) -> None:
    """Pictures of a run as its dataset has them: each as it was, or nearly so in a video."""
    config = config_of(
        policy, f"runs_dir={tmp_path}", f"learner.record_images={kept}", "learner.robot_state_dim=null",
        "learner.demos=null", "algo.prior_fraction=0",
    )  # fmt: skip
    base = make_base(config.base, config.task, "cpu")
    assert isinstance(base, FeaturedBase)
    policy_of_run = DecoratedPolicy.of(config, base, num_envs=1, first_seed=0)
    columns = collect(Rollout(WideEnvironment([[7, 3]]), policy_of_run, experience_spec(config, base)), 10)
    positions = make_ring(64, config, base).add("actor-0", columns)
    with make_store(config, base) as store:
        store.add("actor-0", 1, columns, positions)
        store.end_session("actor-0", 1)
    again = config_of(policy, f"learner.demos={tmp_path}/run/replay")
    prior = load_prior(again, base)
    assert prior is not None
    found, wanted = prior.columns["features"], columns["features"][: len(prior.columns["features"])]
    np.testing.assert_allclose(found, wanted, atol=1e-2 if kept == "image" else 0.3)


def test_what_does_not_fit_is_named(policy: Path, demos: Path, tmp_path: Path) -> None:
    write_maniskill(tmp_path / "demos.h5", EPISODES)
    bare = [Demonstration(each.observations, each.actions, each.success) for each in EPISODES]
    write_lerobot(tmp_path / "bare", bare, task="PickCube-v1", robot_type="panda", fps=20)
    for source, says in (
        (tmp_path / "demos.h5", r"demos.h5 has no pictures, and base_camera is looked at: name a LeRobot"),
        (tmp_path / "bare", r"bare has no pictures observation.images.base_camera, .* it has \[\]"),
    ):
        with pytest.raises(DemonstrationError, match=says):
            loaded(config_of(policy, f"learner.demos={source}"))


def test_pictures_of_another_size_are_refused(policy: Path, tmp_path: Path) -> None:
    small = [
        Demonstration(
            each.observations, each.actions, each.success, pictures={CAMERA: each.pictures[CAMERA][:, :32]}
        )
        for each in EPISODES
    ]
    write_lerobot(tmp_path / "small", small, task="PickCube-v1", robot_type="panda", fps=20)
    with pytest.raises(DemonstrationError, match=r"of 64 x 32, task.camera_size is \[64, 48\]"):
        loaded(config_of(policy, f"learner.demos={tmp_path / 'small'}"))


def test_a_damaged_picture_is_named(policy: Path, tmp_path: Path) -> None:
    write_lerobot(tmp_path / "demos", EPISODES, task="PickCube-v1", robot_type="panda", fps=20)
    (path,) = (tmp_path / "demos" / "data").rglob("*.parquet")
    table = pq.read_table(path)
    name = f"observation.images.{CAMERA}"
    pictures = table[name].to_pylist()
    pictures[10] = {"bytes": b"no picture", "path": None}
    column = pa.array(pictures, type=table.schema.field(name).type)
    pq.write_table(
        table.set_column(table.schema.get_field_index(name), table.schema.field(name), column), path
    )
    with pytest.raises(DemonstrationError, match="episode 1: its pictures cannot be read"):
        loaded(config_of(policy, f"learner.demos={tmp_path / 'demos'}"))


SEES_PICTURES = ("algo.sees=[pictures]", "algo.critics_see=[state,pictures]", "learner.record_images=image")


def test_networks_see_the_recorded_pictures(policy: Path, demos: Path) -> None:
    """Of each decision's first frame; at an episode's end the last one again."""
    config = config_of(policy, f"learner.demos={demos}", *SEES_PICTURES)
    prior, base = loaded(config)
    ring = make_prior_ring(prior, config, base)
    assert not any("image" in name for name in prior.columns), "pictures are in memory twice"
    shown = [episode.pictures[CAMERA] for episode in EPISODES]
    decisions = np.concatenate([pictures[::EVERY] for pictures in shown])
    finals = np.stack([pictures[-1] for pictures in shown])
    recorded = {picture.tobytes() for picture in [*decisions, *finals]}
    kept = np.asarray(ring.images.at(np.arange(len(decisions) + len(finals)))[CAMERA])
    assert {picture.tobytes() for picture in kept} == recorded
    assert isinstance(config.algo, AlgoConfig)
    algo = msgspec.structs.replace(config.algo, batch_size=64)
    batch = Batches(algo, ring, None, seed=0, device="cpu").next()
    for state, picture in zip(batch["observation"].numpy(), batch["pictures"].numpy(), strict=True):
        (wanted,) = (
            episode.pictures[CAMERA][frame]
            for episode in EPISODES
            for frame in range(0, len(episode.actions), EVERY)
            if np.array_equal(episode.observations[frame], state)
        )
        np.testing.assert_array_equal(picture.transpose(1, 2, 0), wanted)


def test_depth_of_recorded_data_is_refused(policy: Path, demos: Path) -> None:
    cameras = (f"task.cameras=[{CAMERA},{CAMERA}_depth]", "algo.pictures.cameras=[base_camera_depth]")
    with pytest.raises(DemonstrationError, match="depth is not read .* base_camera_depth is looked at"):
        loaded(config_of(policy, f"learner.demos={demos}", *cameras, *SEES_PICTURES))
