"""Runs as jobs of a real Slurm: slurmctld and two slurmd, started and ended here."""

import json
import re
import signal
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from config.cluster import SlurmConfig
from config.process import StopRequest
from launch.cluster.record import claimed_by, read_submitted, submitted_runs
from launch.cluster.study import submit_study
from launch.run.holder import is_alive
from launch.study.records import read_records
from launch.study.study import cluster_of, read_study
from tests.support.documents import all_commands
from tests.support.house import House
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
    # A node that comes back ends what it had, by the job's id: Slurm's two minutes are for that.
    slurm.wait_for(lambda: slurm.job(job)["JobState"] == "RUNNING")
    assert slurm.job(job)["NodeList"] != node
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


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_run_that_is_out_of_time_is_queued_again_and_goes_on(
    slurm: Slurm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Slurm's signal comes up to a minute before it was asked for."""
    run_dir = tmp_path / "long"
    monkeypatch.setattr(f"{__name__}.TINY", tuple(word for word in TINY if "time_min" not in word))
    assert submit(tmp_path, "long", ENDLESS, "cluster.time_min=3", "cluster.grace_s=60") == 0
    job = winner(slurm, run_dir)
    slurm.wait_for(lambda: slurm.job(job)["Restarts"] == "1" and is_pending(slurm, job), 300)
    ended = frames(run_dir)
    assert ended > 0
    # Slurm lets it wait for two minutes.
    slurm.wait_for(lambda: frames(run_dir) > ended + 100, 400)
    assert residual_rl("jobs", str(tmp_path), "--cancel", job) == 0
    slurm.wait_for(lambda: not is_alive(run_dir))
    require_whole_replay(run_dir)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_study_is_an_array_that_records_rows_as_they_come(slurm: Slurm, tmp_path: Path) -> None:
    """One at a time; a call that is ended leaves its jobs, and the same words go on with them."""
    words = [
        f"runs_dir={tmp_path}/runs", f"record={tmp_path}/study.jsonl", f"table={tmp_path}/study.md",
        "seeds=[0]",
        "settings={one: [], two: [algo.gamma=0.9]}", "cluster=slurm", "cluster.at_once=1",
        *(word for word in TINY if word.startswith("cluster.")),
        f"common={[*(word for word in TINY if not word.startswith('cluster.')), 'learner.total_frames=300']}",
    ]  # fmt: skip
    study = read_study(words)
    cluster = cluster_of(study)
    assert isinstance(cluster, SlurmConfig)
    stopped = StopRequest()
    stopped.set()
    stopped.signal = signal.SIGINT
    assert submit_study(study, cluster, stopped) == 128 + signal.SIGINT
    assert read_records(tmp_path / "study.jsonl") == []
    [first, second] = [job.job for _, job in submitted_runs(tmp_path / "runs")]
    assert first.partition("_")[0] == second.partition("_")[0]
    slurm.wait_for(lambda: "JobArrayTaskLimit" in slurm.tell("squeue", "--noheader", "--array", "-o", "%r"))

    assert submit_study(study, cluster, StopRequest(), look_s=0.5) == 0
    records = read_records(tmp_path / "study.jsonl")
    assert [(record["setting"], record["status"]) for record in records] == [
        ("one", "finished"), ("two", "finished"),
    ]  # fmt: skip
    assert all(record["frames"] >= 300 and record["base"] for record in records)
    jobs = [job.job for _, job in submitted_runs(tmp_path / "runs")]
    assert sorted(jobs) == sorted([first, second]), "nothing was submitted twice"
    assert submit_study(study, cluster, StopRequest(), look_s=0.5) == 0
    assert len(read_records(tmp_path / "study.jsonl")) == 2
    assert (tmp_path / "study.md").read_text().count("| two: ") == 1


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_actors_on_other_nodes_find_the_learner_and_the_run_goes_on_before_its_time_is_over(
    slurm: Slurm, tmp_path: Path
) -> None:
    run_dir = tmp_path / "wide"
    assert submit(tmp_path, "wide", ENDLESS, "cluster.nodes=2") == 0
    [job] = [job.job for job in read_submitted(run_dir)]

    def hosts() -> set[str]:
        """Actors that the learner hears."""
        status = run_dir / "status.json"
        actors = json.loads(status.read_text())["actors"] if status.is_file() else []
        return {actor["name"] for actor in actors if actor["alive"] and actor["frames"]}

    slurm.wait_for(lambda: hosts() == {"actor-0", "actor-1"}, 300)
    assert stat.S_IMODE((run_dir / "cluster" / "keys").stat().st_mode) == 0o700
    keys = (run_dir / "cluster" / "keys" / "learner.secret").read_text()
    # What Slurm sends before the time limit.
    slurm.tell("scancel", "--signal=USR2", job)
    start_again(slurm, job, restarts=1)
    [log] = [Path(each.log).read_text() for each in read_submitted(run_dir)]
    assert "the job is about to end: stopping the run" in log and "SIGTERM: ending the run" in log
    before = frames(run_dir)
    slurm.wait_for(lambda: frames(run_dir) > before and hosts() == {"actor-0", "actor-1"}, 300)
    assert (run_dir / "cluster" / "keys" / "learner.secret").read_text() != keys, (
        "keys are made for each start"
    )
    slurm.tell("scancel", job)
    slurm.wait_for(lambda: not is_alive(run_dir))
    require_whole_replay(run_dir)


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (("cluster.partition=nope",), "no partition nope here: there are also_low, high, low"),
        (("cluster.gpus=1",), "cluster.gpus=1: no node of partition low has more than 0"),
        (("cluster.nodes=3",), "cluster.nodes=3: 2 nodes of partition low have what is asked"),
        (("cluster.time_min=90",), "cluster.time_min=90: partition low allows 60 minutes"),
        (("cluster.options=[--constraint=a100]",), "Invalid feature specification"),
        (("cluster.shared=false",), "choose a runs_dir that all nodes see, or set cluster.shared=true"),
    ],
)
def test_what_this_cluster_cannot_run_is_one_line_and_not_submitted(
    words: tuple[str, ...], line: str, slurm: Slurm, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert submit(tmp_path, "a", *words) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and line in error and error.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def house(tmp_path: Path, free_ports: tuple[int, int]) -> House:
    """Whose runs take seconds, and whose jobs fit on nodes of this Slurm."""
    house = House(tmp_path / "residual-rl")
    house.make_small(free_ports)
    house.set_defaults("cluster/slurm", cpus=2, memory_gb=2, shared=True, time_min=30)
    return house


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("heading", ["On Slurm", "Two queues", "A study"])
def test_the_page_does_what_it_says(heading: str, slurm: Slurm, house: House) -> None:
    page = [each for each in all_commands() if (each.page, each.heading) == ("docs/how-to/slurm.md", heading)]
    assert page
    for command in page:
        done = house.run(command.text, 1500)
        assert done.returncode == 0, f"{command}\n{done.stdout[-4000:]}"
    runs = house.folder / "runs"
    slurm.wait_for(lambda: not slurm.tell("squeue", "--noheader").strip(), 600)
    summaries = list(runs.glob("*/summary.json"))
    assert len(summaries) == (4 if heading == "A study" else 1)
    if heading == "A study":
        assert [r["status"] for r in read_records(runs / "study.jsonl")] == ["finished"] * 4
    shown = house.run("residual-rl jobs").stdout.splitlines()
    assert len(shown) == 1 + {"On Slurm": 1, "Two queues": 2, "A study": 4}[heading]
