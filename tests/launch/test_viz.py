"""launch/viz.sh and the command that a run's summary names."""

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from launch.show.viz import VizError, choose_episode
from learner.replay.dataset.store import LeRobotStore
from learner.replay.tools.outcomes import EpisodeOutcome, read_outcomes
from learner.replay.tools.visualiser import visualiser_command
from tests.support.identifiable import ACT, OBS, make_stream, pack
from tests.support.program import residual_rl

REPO = "tests/replay"


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    """A run whose replay holds three episodes, of 6, 3 and 5 frames."""
    _, rows = make_stream("peg", 0, [6, 3, 5], sub_envs=1)
    with LeRobotStore(
        tmp_path / "my run" / "replay", repo_id=REPO, observation_dim=OBS, action_dim=ACT, fps=20,
        robot_type="panda", task="PickCube-v1", queue_episodes=16, flush_s=3600.0,
    ) as store:  # fmt: skip
        store.add("peg", 0, pack(rows))
    return tmp_path / "my run"


@pytest.fixture
def environment(tmp_path: Path, repository: Path) -> dict[str, str]:
    words = {"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "hf"), "PYTHONPATH": str(repository)}
    kept = {name: value for name, value in os.environ.items() if name not in ("DISPLAY", "WAYLAND_DISPLAY")}
    return kept | words


def viz(repository: Path, environment: dict[str, str], *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "launch", "viz", *words],
        cwd=repository, env=environment, capture_output=True, text=True, stdin=subprocess.DEVNULL,
    )  # fmt: skip


def test_command_of_the_summary_writes_what_the_visualiser_opens(
    run_dir: Path, environment: dict[str, str], tmp_path: Path
) -> None:
    command = visualiser_command(run_dir / "replay", REPO, 0)
    ended = subprocess.run(
        f"{command} --save 1 --output-dir {tmp_path}/out",
        shell=True, env=environment, capture_output=True, text=True,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    assert (tmp_path / "out/tests_replay_episode_0.rrd").stat().st_size > 1000


def test_command_is_quoted_and_names_everything(tmp_path: Path) -> None:
    words = shlex.split(visualiser_command(tmp_path / "a run", REPO, 7))
    assert Path(words[0]).name == "lerobot-dataset-viz"
    assert words[1:7] == ["--repo-id", REPO, "--root", f"{tmp_path}/a run", "--episode-index", "7"]


@pytest.mark.slow
def test_script_prints_and_runs_the_command(
    run_dir: Path, environment: dict[str, str], tmp_path: Path, repository: Path
) -> None:
    # In a copy, with a set-up that has nothing to do: the script itself, up to the file that it writes.
    copy = tmp_path / "copy"
    shutil.copytree(repository / "launch", copy / "launch", ignore=shutil.ignore_patterns("__pycache__"))
    (copy / "launch/setup_env.sh").write_text("echo called > setup_was_called\n")
    (copy / ".venv").symlink_to(sys.prefix)
    ended = subprocess.run(
        ["bash", str(copy / "launch/viz.sh"), str(run_dir), "last", "--save", str(tmp_path / "out")],
        env=environment, capture_output=True, text=True, stdin=subprocess.DEVNULL, cwd=tmp_path,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    assert (copy / "setup_was_called").is_file()
    assert "lerobot-dataset-viz --repo-id tests/replay --root" in ended.stdout.splitlines()[0]
    saved = tmp_path / "out/tests_replay_episode_2.rrd"
    assert saved.is_file()
    assert ended.stdout.splitlines()[-1].startswith(f"{saved}: open it with rerun")


def test_help_says_how(repository: Path, environment: dict[str, str]) -> None:
    ended = viz(repository, environment, "--help")
    assert ended.returncode == 0
    assert "residual-rl viz my-run best --save out" in ended.stdout


def test_what_cannot_be_shown_is_one_clear_line(
    run_dir: Path, repository: Path, environment: dict[str, str], tmp_path: Path
) -> None:
    (tmp_path / "young").mkdir()
    for words, said in (
        (["no-such-run"], "no run runs/no-such-run: name a folder under runs/"),
        ([str(tmp_path / "young")], "young/replay has no episode yet"),
        ([str(run_dir), "3"], "no episode 3: the replay has episodes 0 to 2"),
        ([str(run_dir), "-1"], "episode must be a number, best, last or worst, got '-1'"),
        ([str(run_dir), "middle"], "episode must be a number, best, last or worst, got 'middle'"),
        ([str(run_dir)], "no display for a window: add --save for a file"),
    ):
        ended = viz(repository, environment, *words)
        assert (ended.returncode, ended.stdout) == (2, "")
        assert said in ended.stderr
        assert ended.stderr.count("\n") == 1


@pytest.mark.slow
@pytest.mark.parametrize("locale", [{"LC_ALL": "C"}, {"LC_ALL": "C", "PYTHONUTF8": "0"}])
def test_save_alone_writes_to_the_runs_folder_in_any_locale(
    locale: dict[str, str], run_dir: Path, repository: Path, environment: dict[str, str]
) -> None:
    run_dir = run_dir.rename(run_dir.with_name("für = ß"))
    ended = viz(repository, environment | locale, str(run_dir), "worst", "--save")
    assert ended.returncode == 0, ended.stderr
    assert len(list(run_dir.glob("*.rrd"))) == 1


def test_all_episodes_are_listed_by_the_runs_page(
    run_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (run_dir / "launch.yaml").touch()
    assert residual_rl("viz", str(run_dir), "--all") == 0
    assert residual_rl("viz", str(run_dir), "--all", "--save", str(tmp_path / "out")) == 0
    pages = [run_dir / "report.html", tmp_path / "out/report.html"]
    assert capsys.readouterr().out == "".join(f"wrote {path}\n" for path in pages)
    for path in pages:
        assert '"frames":[6,3,5],"return":[7.5,1501.5,5005.0],"version":[0,7,14]' in path.read_text()


def test_outcomes_are_read_from_the_metadata(run_dir: Path) -> None:
    seen = read_outcomes(run_dir / "replay")
    assert [(o.episode, o.frames) for o in seen] == [(0, 6), (1, 3), (2, 5)]
    assert [o.total_reward for o in seen] == pytest.approx([15 / 2, 3003 / 2, 10010 / 2])
    assert all(o.success for o in seen)
    assert {o.actor for o in seen} == {"peg"}


def test_best_is_a_quick_success_and_worst_a_poor_failure() -> None:
    outcomes = [
        EpisodeOutcome(0, 100, success=False, total_reward=5.0),
        EpisodeOutcome(1, 60, success=True, total_reward=1.0),
        EpisodeOutcome(2, 40, success=True, total_reward=1.0),
        EpisodeOutcome(3, 100, success=False, total_reward=0.0),
    ]
    assert [choose_episode(outcomes, word) for word in ("best", "worst", "last", "1")] == [2, 3, 3, 1]
    with pytest.raises(VizError, match="no episode 4"):
        choose_episode(outcomes, "4")
