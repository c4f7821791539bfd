"""A real run on each large policy of tiny random weights: skipped without the extras.

In an environment of its own, after `bash launch/setup_env.sh smolvla`, `pi0`, `groot` and `fetch`:
python -m pytest -m slow tests/system/test_large_policies.py.
"""

from pathlib import Path

import pytest

from actor.policy.make import make_base
from actor.simulators.contract import RenderError
from actor.simulators.make import make_environment
from actor.simulators.mujoco_pictures import choose_gl
from learner.replay.dataset.read import read_spec
from learner.replay.restore.ring import restore_ring
from learner.replay.run import make_ring
from tests.support.fetch import needs_fetch
from tests.support.helpers import make_config
from tests.support.lerobot_policies import STATE
from tests.support.played import play
from tests.support.runs import points

pytest.importorskip("transformers", reason="the extras are not installed")
from tests.support.large_policies import KINDS, SIZE, TOP, save_policy  # noqa: E402

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200), needs_fetch]

FRAMES = 2000
WORDS = (
    "task=fetch_push", "task.cameras=[render]", f"task.camera_size=[{SIZE},{SIZE}]", "base=lerobot",
    f"base.cameras={{{TOP}: render}}", f"base.observation={{{STATE}: [0, 18]}}", "base.instruction=pick",
    "learner.demos=null", "algo.prior_fraction=0", "algo.learning_starts=100", "algo.batch_size=32",
    "algo.critic_warmup_updates=10", "learner.replay_capacity=3000", "learner.log_every_s=0.5",
    "learner.store_flush_s=0.5", "learner.publish_every_s=0.5", "tracking=[]", "learner.stop_at=null",
    f"learner.total_frames={FRAMES + 400}", "learner.journal.segment_bytes=16777216",
)  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_a_residual_learns_on_it_in_a_real_run(
    kind: str, tmp_path: Path, free_ports: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    try:
        choose_gl()
    except RenderError as error:
        pytest.skip(str(error))
    folder, *_ = save_policy(kind, tmp_path, monkeypatch, states=18, actions=4)
    # GR00T has no features: its residual sees the robot's part alone.
    sees = "proprioception" if kind == "groot" else "proprioception,features"
    config = make_config(
        *WORDS, f"base.path={folder}", f"algo.sees=[{sees}]", f"runs_dir={tmp_path}", "name=run",
        f"wire.experience_port={free_ports[0]}", f"wire.weights_port={free_ports[1]}",
    )  # fmt: skip
    envs = make_environment(config.task, "physx_cpu", 2, seed=1)
    try:
        seen = lambda: any(point.get("frames", 0) >= FRAMES for point in points(config.run_dir))  # noqa: E731
        play(config, envs, seen, limit_s=900)
    finally:
        envs.close()
    last = points(config.run_dir)[-1]
    assert last["frames"] >= FRAMES and last["updates"] > 20
    base = make_base(config.base, config.task, "cpu")
    width = getattr(base, "features_dim", 0) if "features" in sees else 0
    assert read_spec(config.run_dir / "replay").features_dim == width
    ring = make_ring(3000, config, base)
    assert restore_ring(config.run_dir / "replay", ring) > FRAMES // 8
    if width:
        kept = ring.rows.block[: len(ring), base.observation_dim : base.observation_dim + width]
        assert kept.std(0).max() > 0
