"""What the name that an evaluation is given means."""

import shutil
from pathlib import Path

import pytest

from config.base import BehaviourTransformerBaseConfig, ZeroBaseConfig
from config.compose import compose_config, write_config
from config.process import UsageError
from launch.evaluation.subject import find_subject
from tests.support.behaviour_transformer import save_transformer


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, repository: Path) -> Path:
    """A folder with a run, and a base; neither has weights that are read."""
    monkeypatch.chdir(tmp_path)
    run = tmp_path / "runs" / "mine"
    (run / "checkpoints").mkdir(parents=True)
    write_config(run / "config.yaml", compose_config(["name=mine", "task.max_episode_steps=33"]))
    for name in ("best.safetensors", "newest.pt"):  # the second is of an earlier release
        (run / "checkpoints" / name).touch()
    base = tmp_path / "stack"
    (base / "checkpoints").mkdir(parents=True)
    shutil.copy(repository / "bases/StackCube-v1/args.json", base)
    (base / "checkpoints" / "best.pt").touch()
    return tmp_path


def test_a_run_plays_its_best_residual(place: Path) -> None:
    found = find_subject("mine", ["learner.evaluation.episodes=7"], None, base_alone=False)
    assert found.residual == Path("runs/mine/checkpoints/best.safetensors")
    assert (found.config.task.max_episode_steps, found.config.learner.evaluation.episodes) == (33, 7)
    assert found.results == Path("runs/mine/checkpoints/best.evaluated.json")


def test_a_run_plays_its_base_alone_where_that_is_asked(place: Path) -> None:
    shutil.rmtree("runs/mine/checkpoints")
    assert find_subject("runs/mine", [], None, base_alone=True).residual is None
    with pytest.raises(UsageError, match="no residual yet"):
        find_subject("runs/mine", [], None, base_alone=False)


def test_a_checkpoint_plays_with_the_settings_of_its_run(place: Path) -> None:
    found = find_subject("runs/mine/checkpoints/newest.pt", [], None, base_alone=False)
    assert found.residual == Path("runs/mine/checkpoints/newest.pt")
    assert found.config.task.max_episode_steps == 33


@pytest.mark.parametrize("name", ["stack", "./stack", "stack/checkpoints/best.pt"])
def test_a_base_plays_on_the_task_that_it_was_trained_on(name: str, place: Path) -> None:
    found = find_subject(name, [], None, base_alone=False)
    assert found.config.task.name == "stack_cube" and found.residual is None
    assert found.results is not None and found.results.resolve() == place / "stack" / "evaluated.json"


def test_a_behaviour_transformer_is_known_by_its_arguments(place: Path) -> None:
    save_transformer(place / "bet", env_id="StackCube-v0")
    config = find_subject("bet", [], None, base_alone=False).config
    assert isinstance(config.base, BehaviourTransformerBaseConfig) and config.base.path == "bet"
    config = find_subject("bet", ["base=zero", "task=stack_cube"], None, base_alone=False).config
    assert isinstance(config.base, ZeroBaseConfig) and config.task.name == "stack_cube"


def test_a_lerobot_policy_is_a_folder_or_a_hub_id(place: Path) -> None:
    (place / "act").mkdir()
    (place / "act" / "config.json").touch()
    for name in ("act", "someone/act_pick"):
        found = find_subject(name, ["task=stack_cube"], None, base_alone=False)
        assert found.config.base.path == name and found.config.task.name == "stack_cube"
        assert type(found.config.base).__name__ == "LeRobotBaseConfig"


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("nosuch", "no run runs/nosuch"),
        ("runs/nosuch", "no run runs/nosuch"),
        ("stack/args.json", "is no checkpoint"),
        ("stray.pt", "lies in no run's folder"),
        ("stack/checkpoints/newest.pt", "name the folder"),
    ],
)
def test_anything_else_is_one_line(name: str, says: str, place: Path) -> None:
    for stray in ("stray.pt", "stack/checkpoints/newest.pt"):
        Path(stray).touch()
    with pytest.raises(UsageError, match=says):
        find_subject(name, [], None, base_alone=False)
