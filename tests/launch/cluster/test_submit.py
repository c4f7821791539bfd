"""residual-rl submit without a Slurm: what it shows, and what it refuses before it would ask one."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from config.cluster import SlurmConfig
from config.compose import compose_launch
from config.main import Config
from launch.cluster.submit import Batch, require_usable
from launch.study.study import read_study, trials
from tests.support.demonstrations import put, write_h5
from tests.support.program import residual_rl

pytestmark = pytest.mark.usefixtures("no_slurm")


@pytest.fixture
def no_slurm(monkeypatch: pytest.MonkeyPatch) -> None:
    """A host that has none, whatever this one has."""
    monkeypatch.setenv("PATH", "/nowhere")


def submit(tmp_path: Path, *words: str) -> int:
    return residual_rl("submit", "cluster=slurm", "name=a", f"runs_dir={tmp_path}", *words)


def test_a_dry_run_prints_the_script_and_writes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = (
        "cluster.queues=[gpu,lab:cpu]", "cluster.account=me", "cluster.gpus=2", "cluster.time_min=30",
        "cluster.before=[module load cuda]", "cluster.options=[--constraint=a100,--exclusive]",
        "cluster.container_args=[--container-image=x.sqsh]",
        "cluster.container_command=[apptainer,exec,x.sif]",
        "cluster.grace_s=120",
    )  # fmt: skip
    assert submit(tmp_path, *words, "--dry-run") == 0
    first, second = capsys.readouterr().out.split("#!/bin/bash")[1:]
    for line in (
        "--partition=gpu", "--account=me", "--gpus-per-node=2", "--cpus-per-task=8", "--mem=16384M",
        "--time=30",
        "--nodes=1", "--constraint=a100", "--exclusive", "--requeue", "--signal=USR2@120",
        f"--output={tmp_path}/a/cluster/%j_0_log.out",
    ):  # fmt: skip
        assert f"#SBATCH {line}\n" in first
    assert "\nmodule load cuda\n" in first
    command = next(line for line in first.splitlines() if line.startswith("srun "))
    assert "--container-image=x.sqsh apptainer exec x.sif " in command
    assert command.endswith(f"{sys.executable} -u -m submitit.core._submit {tmp_path}/a/cluster")
    assert "#SBATCH --clusters=lab\n" in second and "#SBATCH --partition=cpu\n" in second
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ((), "no Slurm here: sinfo is not found. Log in to a host of the cluster, or load its module"),
        (("learner.device=cuda",), "learner.device=cuda needs a GPU: set cluster.gpus=1"),
        (
            ("base.path=nowhere", "learner.demos=null", "algo.prior_fraction=0"),
            "no folder nowhere with a base",
        ),
        (("cluster.queues=[a,a]",), "queues must be different names"),
        (("cluster.queues=[a]", "cluster.partition=b"), "partition must be null beside cluster.queues"),
        (("cluster.options=[constraint=a100]",), "options must be long options of sbatch"),
        (("cluster=local",), "submit hands a run to a cluster: add cluster=slurm"),
    ],
)
def test_what_cannot_be_submitted_is_one_line(
    words: tuple[str, ...], line: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert submit(tmp_path, *words) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and line in error and error.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_prior_data_that_the_learner_would_refuse_is_refused_before_a_job_waits_for_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    demos = write_h5(tmp_path / "demos.h5", put("obs", lambda o: o[:, :-1]))
    assert submit(tmp_path / "runs", f"learner.demos={demos}", "--dry-run") == 2
    said = capsys.readouterr()
    assert "observation_dim 41 and action_dim 7" in said.err and "#!/bin/bash" not in said.out
    assert not (tmp_path / "runs").exists()


def test_what_several_runs_share_is_looked_at_once_and_devices_are_those_of_their_nodes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked: list[Config] = []
    monkeypatch.setattr("launch.cluster.submit.require_inputs", lambda config, stop: looked.append(config))
    launch = compose_launch(["cluster=slurm"])
    assert isinstance(launch.cluster, SlurmConfig)
    words = ([], ["algo.gamma=0.9"], ["seed=3"], ["learner.demos=null", "algo.prior_fraction=0"])
    runs = tuple(compose_launch(["cluster=slurm", "learner.device=cuda", *own]).run for own in words)
    require_usable(Batch("study", tmp_path, runs, launch.cluster))
    assert [config.prior_sources for config in looked] == [("bases/PickCube-v1/demos.h5",), ()]
    assert {config.learner.device for config in looked} == {"cpu"}


def test_a_folder_that_cannot_be_written_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    assert submit(tmp_path / "file") == 2
    assert "cannot be written" in capsys.readouterr().err


def test_run_does_not_take_a_cluster(capsys: pytest.CaptureFixture[str]) -> None:
    assert residual_rl("run", "cluster=slurm") == 2
    assert "residual-rl submit cluster=slurm" in capsys.readouterr().err


def test_an_experiment_is_a_study_and_a_run(capsys: pytest.CaptureFixture[str]) -> None:
    study = read_study(["experiment=peg_scale_gpu", "seeds=[5]", "cluster.gpus=2"])
    assert study.tasks == ("peg_insertion_side",) and study.name == "peg-scale"
    assert [trial.command for trial in trials(study)] == [
        f"task=peg_insertion_side experiment=peg_scale_gpu task.residual_scale={scale}"
        for scale in (0.01, 0.03, 0.1)
    ]
    assert residual_rl("run", "experiment=peg_scale_gpu", "--print-config") == 0
    shown = capsys.readouterr().out
    assert "env_id: PegInsertionSide-v1" in shown and "backend: physx_cuda" in shown and "sweep" not in shown


def test_nothing_of_it_is_imported_where_it_is_not_used(repository: Path) -> None:
    program = (
        "import sys; from launch.cli.group import cli; import launch.run.launcher; "
        "print(sorted({name.partition('.')[0] for name in sys.modules} & {'submitit', 'ray'}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=repository, env=os.environ | {"PYTHONPATH": str(repository)},
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.stdout == "[]\n", done.stderr
