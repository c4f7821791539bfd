"""Of several jobs of a run exactly one has the run."""

import multiprocessing
from multiprocessing.synchronize import Barrier
from pathlib import Path

from launch.cluster.record import (
    FOLDER,
    Ended,
    Submitted,
    claim,
    claimed_by,
    forget_claim,
    read_ended,
    read_submitted,
    submitted_runs,
    write_ended,
    write_submitted,
)


def _claim(run_dir: Path, key: str, barrier: Barrier, found: "multiprocessing.Queue[str]") -> None:
    barrier.wait()
    found.put(claim(run_dir, key))


def test_jobs_that_start_at_the_same_moment_agree_on_one(tmp_path: Path) -> None:
    context, keys = multiprocessing.get_context("fork"), [str(number) for number in range(8)]
    for attempt in range(5):
        run_dir = tmp_path / str(attempt)
        (run_dir / FOLDER).mkdir(parents=True)
        barrier, found = context.Barrier(len(keys)), context.Queue()
        processes = [context.Process(target=_claim, args=(run_dir, key, barrier, found)) for key in keys]
        for process in processes:
            process.start()
        winners = {found.get(timeout=30) for _ in keys}
        for process in processes:
            process.join()
        assert len(winners) == 1 and winners == {claimed_by(run_dir)}
        assert [path.name for path in (run_dir / FOLDER).iterdir()] == ["claim"]


def test_a_job_that_is_started_again_still_has_its_run(tmp_path: Path) -> None:
    (tmp_path / FOLDER).mkdir()
    assert claim(tmp_path, "7@lab") == "7@lab" and claim(tmp_path, "8") == "7@lab"
    assert claim(tmp_path, "7@lab") == "7@lab"
    forget_claim(tmp_path)
    assert claimed_by(tmp_path) is None and claim(tmp_path, "8") == "8"


def test_what_was_submitted_is_found_again(tmp_path: Path) -> None:
    jobs = (Submitted("7", None, "low", "a.log"), Submitted("9_1", "lab", "lab:low", "b.log"))
    write_submitted(tmp_path / "one", jobs)
    assert read_submitted(tmp_path / "one") == jobs and jobs[1].key == "9_1@lab"
    assert read_submitted(tmp_path / "two") == ()
    assert [(run_dir.name, job.job) for run_dir, job in submitted_runs(tmp_path)] == [
        ("one", "7"),
        ("one", "9_1"),
    ]


def test_how_a_launcher_ended_is_kept(tmp_path: Path) -> None:
    assert read_ended(tmp_path) is None
    write_ended(tmp_path, Ended("7", 1, "no such base"))
    assert read_ended(tmp_path) == Ended("7", 1, "no such base")
    forget_claim(tmp_path)
    assert read_ended(tmp_path) is None
