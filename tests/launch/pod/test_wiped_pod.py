"""A real run on a pod: saved, the disk wiped, and gone on with by the command that is printed.

python -m pytest tests/launch/pod/test_wiped_pod.py -m slow
"""

import json
import re
import tarfile
from pathlib import Path

import pytest

from tests.support.pod import Pod, refusal
from tests.support.runs import points, wait_for

TIMEOUT_S = 600

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3 * TIMEOUT_S)]

SMALL = (
    "learner.total_frames=4000 algo.learning_starts=60 algo.critic_warmup_updates=10 actor.count=1 "
    "actor.num_envs=2 actor.rows_per_batch=8 learner.log_every_s=0.5 learner.publish_every_s=0.5 "
    "learner.evaluation.episodes=4 learner.evaluation.interim_episodes=2 learner.evaluation.videos=0 "
    "learner.stop_at=null learner.wandb.mode=disabled page.port=null"
)


def test_a_run_is_saved_and_goes_on_after_the_disk_was_wiped(
    tmp_path: Path, free_ports: tuple[int, int]
) -> None:
    if (reason := refusal()) is not None:
        pytest.skip(reason)
    pod, log = Pod(tmp_path, real=True), tmp_path / "run.log"
    pod.add_clone()
    pod.add_uv()
    assert pod.run(f"bash {pod.clone}/launch/pod/setup.sh").returncode == 0
    ports = f"wire.experience_port={free_ports[0]} wire.weights_port={free_ports[1]}"
    run_dir = pod.project / "runs" / "my-run"
    run = pod.start(f"cd {pod.project} && exec .venv/bin/residual-rl run name=my-run {SMALL} {ports}", log)
    try:
        wait_for(lambda: points(run_dir) and points(run_dir)[-1]["updates"] > 0, run)
        saved = pod.run(f"bash {pod.project}/launch/pod/save.sh")
        assert run.wait(5) == 130, log.read_text()
    finally:
        run.kill()
        run.wait()
    assert saved.returncode == 0, saved.stderr
    assert f"stopped {run_dir}" in saved.stdout and "everything is saved" in saved.stdout
    place = pod.volume / "saved" / "residual-rl"
    assert len(list((place / "commits").glob("*.bundle"))) == 1, "the clone has no remote"
    with tarfile.open(place / "runs-001.tar") as tar:
        assert {"runs/my-run/config.yaml", "runs/my-run/checkpoints/training.pt"} <= set(tar.getnames())

    pod.wipe()
    updates = points(run_dir)[-1]["updates"]
    back = pod.run(f"bash {pod.project}/launch/pod/restart.sh")
    assert back.returncode == 0, back.stderr
    [command] = re.findall(r"^cd .*$", back.stdout, re.M)
    done = pod.run(command, TIMEOUT_S)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr
    assert "run my-run is over" in done.stdout and "resumed the networks" in done.stdout
    summary = json.loads((run_dir / "summary.json").read_text())
    assert summary["frames"] >= 4000 and summary["updates"] > updates
    assert "no run is unfinished" in pod.run(f"bash {pod.project}/launch/pod/restart.sh").stdout
