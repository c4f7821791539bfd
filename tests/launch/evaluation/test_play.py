"""An evaluation in several processes is the one in a single process."""

import json
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from config.compose import compose_config
from config.files import replace_text
from config.process import StopRequest, UsageError
from launch.evaluation import kept
from launch.evaluation.evaluate import Asked, evaluate_and_report
from launch.evaluation.kept import Kept, digest_of, keep, read_kept
from launch.evaluation.play import play, shares
from launch.evaluation.subject import Subject


@pytest.mark.parametrize(("episodes", "processes"), [(10, 3), (4, 4), (7, 1)])
def test_processes_share_the_seeds(episodes: int, processes: int) -> None:
    config = compose_config([f"learner.evaluation.episodes={episodes}", "learner.evaluation.first_seed=50"])
    played = [each.learner.evaluation for each in shares(config, processes)]
    seeds = [seed for each in played for seed in range(each.first_seed, each.first_seed + each.episodes)]
    assert seeds == list(range(50, 50 + episodes)) and len(played) == processes
    assert all(each.num_envs <= each.episodes for each in played)


def test_each_seed_ends_alike_in_any_number_of_processes_and_is_kept(
    tmp_path: Path, repository: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Real simulators, and the shipped base, from a folder of its own."""
    base = tmp_path / "base"
    base.mkdir()
    for name in ("args.json", "checkpoints"):
        (base / name).symlink_to(repository / "bases/PickCube-v1" / name)
    config = compose_config([f"base.path={base}", "task.max_episode_steps=60"])
    successes = []
    for processes in (1, 2):
        asked = Asked(episodes=6, first_seed=1_000_000, processes=processes, by="29")
        evaluate_and_report(Subject(config, None), asked, StopRequest())
        printed = json.loads(capsys.readouterr().out.splitlines()[-1])
        successes.append(printed["successes"])
        assert printed["seeds"] == list(range(1_000_000, 1_000_006))
    assert successes[0] == successes[1] and len(set(successes[0])) == 2
    first, second = read_kept(base / "evaluated.json")
    assert first.successes == second.successes == successes[0] and first.digest is not None
    assert [row["episodes"] for row in first.by_start] == [2, 2, 1, 1]


def test_what_a_process_refuses_is_the_evaluations_one_line(tmp_path: Path) -> None:
    residual = tmp_path / "best.pt"
    residual.write_bytes(b"nonsense")
    with pytest.raises(UsageError, match="not a readable checkpoint"):
        play(Subject(compose_config([]), residual), 1, StopRequest())


KEPT = Kept(
    time="", task="", control_mode="", base="", residual=None, digest=None, first_seed=0, episodes=1,
    success=1.0, low=0.0, high=1.0, mean_frames=9.0, successes=[True], wall_s=1.0, by_start=[],
)  # fmt: skip


def test_a_damaged_record_is_said_and_put_aside(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    place = tmp_path / "evaluated.json"
    place.write_text("[{")
    keep(place, KEPT)
    assert read_kept(place) == [KEPT] and "it is evaluated.json.unreadable now" in caplog.text
    assert (tmp_path / "evaluated.json.unreadable").read_text() == "[{"


def test_evaluations_that_end_together_are_all_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def slow(place: Path, text: str) -> None:
        time.sleep(0.05)
        replace_text(place, text)

    monkeypatch.setattr(kept, "replace_text", slow)
    with ThreadPoolExecutor() as pool:
        list(pool.map(lambda _: keep(tmp_path / "evaluated.json", KEPT), range(3)))
    assert len(read_kept(tmp_path / "evaluated.json")) == 3


def test_the_digest_is_that_of_the_checkpoint_that_plays(tmp_path: Path) -> None:
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "best.safetensors").write_bytes(b"abc")
    digest = digest_of(Subject(compose_config([f"base.path={tmp_path}"]), None))
    assert digest is not None and digest.startswith("ba7816bf")
