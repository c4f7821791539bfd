"""Every benchmark says what it measures, how it is called, and what its last line means."""

import importlib
import json
import multiprocessing
import pkgutil
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import pytest

import benchmarks
from benchmarks import methods, observability
from benchmarks.command import print_result
from benchmarks.methods_table import make_table, spent_file
from benchmarks.pictures_film import Film, seen_messages
from benchmarks.scale import Cell, measure
from benchmarks.scale_actor import Order, messages
from benchmarks.turns import Cost, beside, in_turns
from config.compose import compose_config
from protocol.experience import ExperienceCheck
from tests.support.helpers import ROOT
from tests.support.run_folder import evaluation_point, training_point, write_points
from tests.support.spec import make_spec

PARTS = {
    "command", "methods_table", "pictures_film", "pictures_learning", "pictures_recording", "scale_actor",
    "scale_learner", "turns",
}  # fmt: skip
NAMES = sorted(
    module.name for module in pkgutil.iter_modules(benchmarks.__path__) if module.name not in PARTS
)


@pytest.mark.parametrize("name", NAMES)
def test_help_names_the_sides_the_time_it_takes_and_the_keys_of_the_last_line(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    module = importlib.import_module(f"benchmarks.{name}")
    with pytest.raises(SystemExit) as ended:
        module.main(["--help"])
    said = capsys.readouterr().out
    assert ended.value.code == 0
    assert said.startswith(f"usage: python -m benchmarks.{name}")
    assert "minute" in said and "JSON object" in said
    assert module.__doc__.strip().splitlines()[0] in said
    for key, meaning in module.KEYS.items():
        assert key in said and meaning in said


def test_a_last_line_has_only_keys_that_the_help_names(capsys: pytest.CaptureFixture[str]) -> None:
    print_result({"ours_s": 1, "ratio": 2}, {"*_s": "", "ratio": ""})
    assert json.loads(capsys.readouterr().out) == {"ours_s": 1, "ratio": 2}
    with pytest.raises(KeyError, match="peer"):
        print_result({"peer": 1}, {"ratio": ""})


def test_a_watched_run_has_the_rates_while_frames_arrive_and_all_networks_learn(tmp_path: Path) -> None:
    points = [
        training_point(0, t_s=3.0),
        training_point(1_000, t_s=10.0, updates=1_499),
        training_point(2_000, t_s=20.0, updates=1_550),
        evaluation_point("full", 2_000, 0.5),
        training_point(10_000, t_s=40.0, updates=1_950),
        training_point(10_400, t_s=41.0, updates=1_970),
        training_point(10_400, t_s=50.0, updates=1_970),
        evaluation_point("full", 10_400, 0.5),
    ]
    write_points(tmp_path, points)
    assert observability.rates_of(tmp_path) == observability.Rates(frames=400.0, updates=20.0)
    write_points(tmp_path, points[:5])
    with pytest.raises(RuntimeError, match="more --frames"):
        observability.rates_of(tmp_path)


def test_watched_and_unwatched_runs_take_turns_and_their_medians_are_compared(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    order, rates = list[bool](), {True: iter([90.0, 95.0, 10.0]), False: iter([100.0, 1000.0, 90.0])}

    def play(_: Path, words: list[str], *, watched: bool) -> observability.Rates:
        assert words[-1] == "seed=5"
        order.append(watched)
        frames = next(rates[watched])
        return observability.Rates(frames, frames / 10)

    monkeypatch.setattr(observability, "play", play)
    observability.main(["--rounds", "3", "seed=5"])
    assert order == [False, True, True, False, False, True]
    result = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (result["ours"], result["peer"], result["ratio"]) == (90, 100, 0.9)
    assert (result["ours_updates_per_s"], result["updates_ratio"]) == (9.0, 0.9)


def record_of_a_run() -> dict[str, object]:
    """As a study's record has it: a tenth more success every 10,000 frames from 40,000 on, half at 50,000."""
    points = [
        {"frames": frames, "updates": frames // 20, "success": success}
        for frames, success in ((40_000, 0.4), (50_000, 0.5), (80_000, 0.8), (120_000, 0.9))
    ]
    return {
        "name": "methods-pick_cube-resfit-s1", "task": "pick_cube", "setting": "resfit", "seed": 1,
        "command": "task=pick_cube experiment=methods algo=resfit", "status": "finished",
        "base": {"success": 0.4, "frames": 0}, "final": points[-1], "curves": {"full": points},
        "lowest_behaviour": {"success": 0.25, "frames": 33_000},
        "to": {"0.50": points[1], "0.75": points[2], "0.90": None},
    }  # fmt: skip


def test_a_row_of_methods_is_what_a_run_reached_and_after_what(tmp_path: Path) -> None:
    record = record_of_a_run()
    path = spent_file(record, str(tmp_path))
    path.parent.mkdir(parents=True)
    path.write_text("[40000, 100.0]\n[60000, 200.0]\n[120000, 500.0]\n")
    [row] = make_table([record], str(tmp_path)).splitlines()[2:]
    # 30,000 frames: the base's 40 %. 60,000: a third of the way from 50 to 80 %.
    assert row == (
        "| pick_cube | resfit | 1 | 40 % | 40 % | 60 % | 90 % | 50 k, 2 k updates, 150 s "
        "| 80 k, 4 k updates, 300 s | no | 25 % at 33 k "
        "| `residual-rl run task=pick_cube experiment=methods algo=resfit seed=1 learner.stop_at=null` |"
    )
    path.unlink()
    record["curves"] = {"full": [{"frames": 50_000, "success": 0.5}]}
    [row] = make_table([record], str(tmp_path)).splitlines()[2:]
    assert "| 40 % | 46 % | - | - | 50 k, 2 k updates | 80 k, 4 k updates | no |" in row


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_methods_are_run_once_and_compared(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = [
        "tasks=[pick_cube]", "seeds=[0]", "settings={dawn: [algo=dawn, algo.batch_size=32]}",
        "common=[learner.total_frames=1000, learner.evaluation.episodes=4, algo.learning_starts=100]",
        f"runs_dir={tmp_path}/runs", f"record={tmp_path}/methods.jsonl", f"table={tmp_path}/study.md",
        "--table", f"{tmp_path}/table.md", "--picture", f"{tmp_path}/methods.png",
    ]  # fmt: skip
    for _ in range(2):
        methods.main(words)
        result = json.loads(capsys.readouterr().out.splitlines()[-1])
        assert (result["planned"], result["finished"]) == (1, 1) and 0 <= result["final.dawn"] <= 1
    assert len((tmp_path / "methods.jsonl").read_text().splitlines()) == 1
    assert (tmp_path / "methods.png").stat().st_size > 1000
    assert "| pick_cube | dawn | 0 |" in (tmp_path / "table.md").read_text()
    [spent] = tmp_path.glob("runs/methods-*/logs/processors.jsonl")
    frames, seconds = json.loads(spent.read_text().splitlines()[-1])
    assert frames >= 900 and seconds > 1


def test_sides_take_turns_and_ratios_are_those_of_medians() -> None:
    order, rates = list[str](), iter([10.0, 2.0, 30.0, 4.0, 20.0, 6.0])

    def side(name: str) -> Callable[[], Cost]:
        def measure() -> Cost:
            order.append(name)
            rate = next(rates)
            return Cost(rate, 1e3 / rate)

        return measure

    costs = in_turns({name: side(name) for name in ("ours", "peer")}, rounds=3)
    assert order == ["ours", "peer"] * 3
    assert beside(costs, "frame", "frames") == {
        "ours_frames_per_s": 20, "peer_frames_per_s": 4,
        "ours_cpu_ms_per_frame": 50, "peer_cpu_ms_per_frame": 250, "ratio": 5, "ratio_cpu": 5,
    }  # fmt: skip


def test_pictures_of_an_episode_are_those_of_its_steps() -> None:
    film = Film(16)
    for columns in seen_messages(200, film):
        for row, (sub_env, episode, decision) in enumerate(
            zip(*(columns[name].tolist() for name in ("sub_env", "episode", "decision")), strict=True)
        ):
            number = 4 * episode + sub_env
            for camera in film.cameras:
                for frame, shown in enumerate(columns[f"image.{camera}"][row]):
                    assert np.array_equal(shown, film.at(number, 4 * decision + frame)[camera])


def test_rows_of_a_simulated_actor_are_experience_of_whole_episodes() -> None:
    spec = make_spec()
    order = Order(
        wire=compose_config([]).wire, spec=spec, index=3, rows_per_s=80, rows_per_message=64, sub_envs=6
    )
    check, following = ExperienceCheck(spec), dict.fromkeys(range(6), (0, 0))
    for columns, _ in zip(messages(order), range(20), strict=False):
        check(columns)
        for sub_env, episode, decision, ends in zip(
            *(columns[name].tolist() for name in ("sub_env", "episode", "decision", "truncated")), strict=True
        ):
            assert following[sub_env] == (episode, decision)
            following[sub_env] = (episode + 1, 0) if ends else (episode, decision + 1)


@pytest.mark.slow
def test_a_learner_takes_what_two_simulated_actors_send(tmp_path: Path) -> None:
    seen = measure(Cell(actors=2, rows_per_s=80), seconds=4, scratch=tmp_path)
    assert seen["fairness"] > 0.8
    assert 0 < seen["taken_share"] < 1.2 and seen["updates_per_s"] > 0
    assert 0 < seen["ack_ms_median"] <= seen["ack_ms_99"]
    assert seen["fan_out_ms_most"] >= 0


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_pictures_are_measured_beside_peers_and_ceilings(tmp_path: Path) -> None:
    words = "--rounds 1 --seconds 0.2 --frames 100 --rows 200 --batch 16 --updates 2 --size 32 --scratch"
    command = [sys.executable, "-m", "benchmarks.pictures", *words.split(), str(tmp_path)]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    found = json.loads(ended.stdout.splitlines()[-1])
    assert found["wire"]["ours_rows_per_s"] > 0 and found["wire"]["ceiling_ratio"] > 0
    for part in ("image", "video", "ring"):
        assert found[part]["ratio"] > 0 and found[part]["ceiling_ratio"] > 0
    assert 0 < found["updates"]["ratio_to_state"] < 1
    assert found["ratio"] == found["image"]["ratio"]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_two_ranks_are_measured_beside_one_process_and_a_ceiling() -> None:
    ranks = importlib.import_module("benchmarks.ranks")
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        found = pool.submit(ranks.measure, "algo=residual_td3", 0.3, 2).result()
    for name in (
        "ours_updates_per_s",
        "peer_updates_per_s",
        "ceiling_updates_per_s",
        "ratio",
        "ceiling_ratio",
    ):
        assert found[name] > 0 and name in ranks.KEYS["default"]
    assert 0 < found["batches_share"] + found["gradients_share"] < 1
