"""A real run of a residual that sees the robot's part and the base's features, and one that goes on."""

from pathlib import Path

import numpy as np
import pytest
import torch

from actor.evaluate_base import make_policy
from actor.policy.checkpoint_file import read_checkpoint
from actor.policy.make import make_base
from actor.simulators.make import make_environment
from config.main import Config
from learner.replay.dataset.read import read_spec
from learner.replay.prior.maniskill import write_maniskill
from learner.replay.prior.read import Wanted, read_demonstrations
from learner.replay.restore.ring import restore_ring
from learner.replay.run import make_ring
from tests.support.fakes import ScriptedEnvironment
from tests.support.fetch import needs_fetch
from tests.support.helpers import make_config
from tests.support.played import play
from tests.support.runs import points, progress

FAST = (
    "algo.learning_starts=12", "algo.critic_warmup_updates=2", "algo.batch_size=32", "algo.hidden=[32]",
    "algo.critics=2", "algo.utd=0.5", "algo.last_layer_gain=0.1", "task.max_episode_steps=16",
    "learner.replay_capacity=2000", "learner.journal.segment_bytes=1048576", "learner.wandb.mode=disabled",
    "learner.store_flush_s=0.2", "learner.log_every_s=0.1", "learner.publish_every_s=0.2", "tracking=[]",
)  # fmt: skip


def has_learned(config: Config) -> bool:
    """Five updates, and an episode that has ended: before, nothing is in the dataset."""
    return any(point["updates"] >= 5 and point["episodes"] > 0 for point in progress(config.run_dir))


@pytest.fixture
def config(tmp_path: Path, free_ports: tuple[int, int]) -> Config:
    shown = read_demonstrations(Path("bases/PickCube-v1/demos.h5"), Wanted(limit=3)).episodes
    write_maniskill(tmp_path / "demos.h5", shown)
    return make_config(
        *FAST, "algo.sees=[proprioception,features]", f"runs_dir={tmp_path}", "name=run",
        f"learner.demos={tmp_path}/demos.h5",
        f"wire.experience_port={free_ports[0]}", f"wire.weights_port={free_ports[1]}",
    )  # fmt: skip


def test_it_learns_on_real_simulators_and_another_process_goes_on_with_every_feature(
    config: Config, tmp_path: Path
) -> None:
    envs = make_environment(config.task, "physx_cpu", 2, seed=1)
    try:
        play(config, envs, lambda: has_learned(config))
    finally:
        envs.close()
    updates = progress(config.run_dir)[-1]["updates"]
    assert updates >= 5
    base = make_base(config.base, config.task, "cpu")
    width = 25 + base.obs_horizon * 42
    newest = config.run_dir / "checkpoints" / "newest.safetensors"
    assert read_checkpoint(newest)["actor"]["observation_mean"].shape == (width,)
    assert read_spec(config.run_dir / "replay").features_dim == base.obs_horizon * 42
    ring = make_ring(2000, config, base)
    assert restore_ring(config.run_dir / "replay", ring) > 0
    kept = ring.rows.block[: len(ring), 42 : 42 + base.obs_horizon * 42]
    assert (kept.abs().sum(1) > 0).any()
    # A state base's features of the newest frame are its observation, scaled: they say which row they are of.
    seen = base.features(torch.stack([ring.rows.block[:1, :42]] * base.obs_horizon, dim=1))
    np.testing.assert_array_equal(kept[0].numpy(), seen[0].numpy().astype(np.float16).astype(np.float32))
    play(
        config,
        ScriptedPickCube(),
        lambda: any(point.get("updates", 0) > updates for point in points(config.run_dir)),
    )
    assert progress(config.run_dir)[-1]["updates"] > updates
    policy = make_policy(config, base, newest, num_envs=1)
    policy.begin(torch.zeros(1, 42))
    assert policy.act().residual.abs().sum() > 0


@needs_fetch
def test_it_learns_from_colours_and_depth_of_a_simulator(drawing: None, tmp_path: Path, free_ports) -> None:
    """Actor and learner mean the same by a decision's RGB-D pictures, also another process does."""
    config = make_config(
        *FAST, "task=fetch_push", "task.cameras=[render,render_depth]", "algo.sees=[proprioception,pictures]",
        "learner.demos=null", "algo.prior_fraction=0", "algo.pictures.channels=[8,8,8]", "base=zero",
        "algo.residual_every=4",
        "learner.record_images=video", f"runs_dir={tmp_path}", "name=run",
        f"wire.experience_port={free_ports[0]}", f"wire.weights_port={free_ports[1]}",
    )  # fmt: skip
    envs = make_environment(config.task, "physx_cpu", 2, seed=1, processes=1)
    try:
        play(config, envs, lambda: has_learned(config))
    finally:
        envs.close()
    assert progress(config.run_dir)[-1]["updates"] >= 5
    spec = read_spec(config.run_dir / "replay")
    assert list(spec.cameras) == ["render", "render_depth"] and spec.videos == ["render"]
    base = make_base(config.base, config.task, "cpu")
    ring = make_ring(2000, config, base, images=True)
    assert restore_ring(config.run_dir / "replay", ring) > 0
    distances = ring.images.at(np.arange(3))["render_depth"].numpy().view(np.uint16)
    assert 500 < distances.min() < 2500, "the table is two metres away"
    newest = config.run_dir / "checkpoints" / "newest.safetensors"
    assert read_checkpoint(newest)["actor"]["encoder.layers.0.weight"].shape == (8, 4, 3, 3)
    policy = make_policy(config, base, newest, num_envs=1)
    shown = {name: images[:1] for name, images in ring.images.at(np.arange(1)).items()}
    policy.begin(torch.zeros(1, base.observation_dim), images=shown)
    assert policy.act().residual.abs().sum() > 0


class ScriptedPickCube(ScriptedEnvironment):
    """Of PickCube's dimensions: a second build of real simulators would show nothing new."""

    def __init__(self) -> None:
        super().__init__([[16], [12]], action_dim=7)
        self.observation_dim = 42

    def _observation(self, env: int) -> list[float]:
        return [*super()._observation(env), *[0.1] * 39]
