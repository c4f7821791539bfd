"""The whole, small: real simulators, the shipped base, three kinds of process, one summary."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from actor.policy.checkpoint_file import read_checkpoint
from tests.support.helpers import left_running

SMALL = (
    "learner.total_frames=1200", "algo.learning_starts=100", "algo.critic_warmup_updates=20",
    "learner.evaluation.episodes=4", "learner.evaluation.num_envs=2", "actor.count=1", "actor.num_envs=2",
    "actor.rows_per_batch=8", "learner.publish_every_s=0.5", "learner.log_every_s=1.0",
    "learner.evaluation.videos=0",
)  # fmt: skip


def start(tmp_path: Path, free_ports: tuple[int, int], repository: Path, *more: str) -> subprocess.Popen[str]:
    overrides = [
        *SMALL, "name=small", f"runs_dir={tmp_path}",
        f"wire.experience_port={free_ports[0]}", f"wire.weights_port={free_ports[1]}", *more,
    ]  # fmt: skip
    return subprocess.Popen(
        [sys.executable, "-m", "launch", "run", *overrides],
        cwd=repository, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        start_new_session=True,
    )  # fmt: skip


def open_replay(run_dir: Path):
    from lerobot.datasets.lerobot_dataset import LeRobotDataset

    return LeRobotDataset("small", root=run_dir / "replay")


@pytest.mark.timeout(600)
def test_a_small_run_ends_by_itself_with_everything_in_its_folder(
    tmp_path: Path, free_ports: tuple[int, int], repository: Path
) -> None:
    process = start(tmp_path, free_ports, repository, "actor.count=2")
    output, _ = process.communicate(timeout=580)
    assert process.returncode == 0, output
    run_dir = tmp_path / "small"
    summary = json.loads((run_dir / "summary.json").read_text())
    assert summary["frames"] >= 1200 and summary["decisions"] > 0 and summary["updates"] > 20
    assert summary["evaluation_episodes"] == 4
    assert 0 <= summary["base_success"] <= 1 and 0 <= summary["final_success"] <= 1
    assert "lerobot-dataset-viz" in summary["viz_command"] and "final success" in output
    points = [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]
    assert any(point.get("loss/critic") is not None for point in points)
    assert {"success_base", "success_full", "queue_rows", "disk_mb", "policy_lag", "waiting_for"} <= {
        key for point in points for key in point
    }
    checkpoint = read_checkpoint(run_dir / "checkpoints" / "newest.safetensors")
    assert checkpoint["updates"] == summary["updates"]
    best = read_checkpoint(run_dir / "checkpoints" / "best.safetensors")
    assert best["success"] == summary["best_success"] >= summary["final_success"]
    assert summary["best_checkpoint"] in output and summary["stopped_early"] is None
    dataset = open_replay(run_dir)
    assert dataset.num_episodes == summary["replay_episodes"] > 0
    assert not left_running(process.pid)


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_a_run_whose_evaluations_are_good_enough_ends_before_its_frame_budget(
    tmp_path: Path, free_ports: tuple[int, int], repository: Path
) -> None:
    process = start(
        tmp_path, free_ports, repository, "learner.total_frames=1000000", "learner.evaluation.every_s=1",
        "learner.evaluation.interim_episodes=10", "learner.stop_at.success=0.1",
        # The actor stays as it starts: as good as the base.
        "algo.critic_warmup_updates=1000000",
    )  # fmt: skip
    output, _ = process.communicate(timeout=380)
    assert process.returncode == 0, output
    summary = json.loads((tmp_path / "small" / "summary.json").read_text())
    assert summary["frames"] < 1_000_000 and summary["evaluation_episodes"] == 4
    assert "reach learner.stop_at.success=0.1" in summary["stopped_early"]
    assert "training ends early" in output and summary["stopped_early"] in " ".join(output.split())


@pytest.mark.timeout(400)
def test_ctrl_c_in_the_middle_ends_everybody_and_leaves_a_whole_folder(
    tmp_path: Path, free_ports: tuple[int, int], repository: Path
) -> None:
    process = start(
        tmp_path, free_ports, repository, "learner.total_frames=100000", "learner.store_flush_s=0.5"
    )
    info = tmp_path / "small" / "replay" / "meta" / "info.json"
    deadline = time.monotonic() + 120
    while not info.exists():
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    began = time.monotonic()
    output, _ = process.communicate(timeout=30)
    assert time.monotonic() - began < 12, output
    assert process.returncode != 0
    assert not left_running(process.pid)
    dataset = open_replay(tmp_path / "small")
    assert dataset.num_episodes >= 1 and len(dataset) > 0
