"""Runs as jobs of a real Slurm: slurmctld and two slurmd, started and ended here."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from launch.cluster.record import claimed_by, read_submitted
from launch.run.holder import is_alive
from tests.support.program import residual_rl
from tests.support.runs import points
from tests.support.slurm import NODES, Slurm, running_slurm

# Of a run that takes no longer to start than it must, on nodes of two processors.
TINY = (
    "cluster.cpus=2", "cluster.memory_gb=2", "cluster.time_min=30", "cluster.shared=true",
    "base=zero", "algo.prior_fraction=0", "learner.demos=null", "algo.learning_starts=60",
    "algo.critic_warmup_updates=10", "algo.batch_size=32", "actor.count=1", "actor.num_envs=2",
    "actor.rows_per_batch=8", "learner.publish_every_s=0.5", "learner.log_every_s=0.5",
    "learner.checkpoint_every_s=1", "learner.store_flush_s=1", "learner.evaluation.episodes=2",
    "learner.evaluation.interim_episodes=2", "learner.evaluation.num_envs=2", "learner.evaluation.videos=0",
    "task.max_episode_steps=30", "tracking=[]", "page.port=null",
)  # fmt: skip
ENDLESS = "learner.total_frames=10000000"


@pytest.fixture(scope="module")
def slurm(tmp_path_factory: pytest.TempPathFactory, unused_ports: Iterator[int]) -> Iterator[Slurm]:
    with running_slurm(tmp_path_factory.mktemp("slurm"), unused_ports) as slurm:
        yield slurm


def submit(folder: Path, name: str, *words: str) -> int:
    return residual_rl("submit", "cluster=slurm", f"name={name}", f"runs_dir={folder}", *TINY, *words)


def frames(run_dir: Path) -> int:
    """That the learner has received."""
    found = [point for point in points(run_dir) if "eval_version" not in point]
    return found[-1]["frames"] if found else 0


def winner(slurm: Slurm, run_dir: Path) -> str:
    return slurm.wait_for(lambda: claimed_by(run_dir))


def start_again(slurm: Slurm, job: str, restarts: int) -> None:
    """Wait until the job is in the queue again, where Slurm would let it wait for two minutes."""
    slurm.wait_for(lambda: slurm.job(job)["Restarts"] == str(restarts) and is_pending(slurm, job))
    slurm.tell("scontrol", "update", f"job={job}", "starttime=now")


def is_pending(slurm: Slurm, job: str) -> bool:
    return slurm.job(job)["JobState"] == "PENDING"


def require_whole_replay(run_dir: Path) -> None:
    """No row that was sent is missing or there twice: episodes with a gap would have been left out."""
    said = (run_dir / "logs" / "learner.log").read_text()
    assert set(re.findall(r"(\d+) with missing decisions", said)) == {"0"}
    assert residual_rl("replay", "verify", str(run_dir / "replay")) == 0


@pytest.mark.timeout(600)
def test_a_run_goes_on_after_another_job_took_its_place_and_after_its_node_was_killed(
    slurm: Slurm, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It waits in two queues whose jobs start in the same second: one of them is the run."""
    run_dir = tmp_path / "one"
    assert submit(tmp_path, "one", ENDLESS, "cluster.queues=[low,also_low]") == 0
    jobs = {job.job for job in read_submitted(run_dir)}
    job = winner(slurm, run_dir)
    [other] = jobs - {job}
    slurm.wait_for(lambda: slurm.job(other)["JobState"] in ("CANCELLED", "COMPLETED"))
    slurm.wait_for(lambda: frames(run_dir) >= 200)
    assert submit(tmp_path, "one", ENDLESS) == 2
    assert f"has job {job} already (RUNNING)" in capsys.readouterr().err

    node = slurm.job(job)["NodeList"]
    slurm.tell("sbatch", "-p", "high", "-w", node, "-c", "2", "-o", "/dev/null", "--wrap", "sleep 1")
    start_again(slurm, job, restarts=1)
    preempted = frames(run_dir)
    [log] = [Path(each.log).read_text() for each in read_submitted(run_dir) if each.job == job]
    assert "SIGTERM: ending the run" in log and "the job makes room for another" in log
    slurm.wait_for(lambda: frames(run_dir) > preempted + 100)

    node = slurm.job(job)["NodeList"]
    slurm.kill_node(node)
    killed = frames(run_dir)
    slurm.tell("scontrol", "update", f"nodename={node}", "state=down", "reason=killed")
    start_again(slurm, job, restarts=2)
    slurm.start_node(node)
    slurm.wait_for(lambda: frames(run_dir) > killed + 100)

    assert residual_rl("jobs", str(tmp_path)) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    [row] = [row for row in rows if row[0] == job]
    assert (
        row[1] == "RUNNING" and row[2] in NODES and row[3] == "one" and int(row[4].replace(",", "")) > killed
    )
    assert residual_rl("jobs", str(tmp_path), "--cancel", job) == 0
    slurm.wait_for(lambda: slurm.job(job)["JobState"] == "CANCELLED")
    slurm.wait_for(lambda: not is_alive(run_dir))
    require_whole_replay(run_dir)
    assert residual_rl("jobs", str(tmp_path), "--logs", job) == 0
    assert "ending the run" in capsys.readouterr().out
