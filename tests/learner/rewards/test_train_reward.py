"""A classifier on states, from files of demonstrations to a folder that judges."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from actor.policy.classifier.files import load_classifier, who_says_success
from actor.policy.contract import CheckpointError
from config.compose import compose_config
from config.process import StopRequest
from config.train_reward import compose_reward_training
from learner.replay.prior.demonstration import Demonstration
from learner.replay.prior.error import DemonstrationError
from learner.replay.prior.maniskill import write_maniskill
from learner.replay.prior.origin import Origin
from learner.rewards.run import train_reward

OBJECT, GOAL = slice(29, 32), slice(26, 29)


def write_episodes(path: Path, count: int = 40, reach: float = 0.0) -> Path:
    """The object comes to the goal, to within `reach` metres; within 1 cm the frame is successful."""
    rng = np.random.default_rng(0)
    episodes = []
    for _ in range(count):
        observations = np.zeros((13, 42), np.float32)
        observations[:, GOAL] = rng.normal(0, 0.1, 3)
        way = np.linspace(0.3, 0, 13)[:, None] * rng.normal(0, 1, 3) + reach
        observations[:, OBJECT] = observations[:, GOAL] + way
        success = np.linalg.norm(way, axis=1)[1:] < 0.01
        episodes.append(Demonstration(observations, np.zeros((12, 7), np.float32), success))
    write_maniskill(path, episodes, Origin("PickCube-v1", ("pd_ee_delta_pose",)))
    return path


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("reward")
    demos = write_episodes(folder / "demos.h5")
    asked = compose_reward_training(
        [f"demos={demos}", f"out={folder}/out", "steps=150", "hidden=[32]", "folds=2"]
    )
    assert train_reward(asked, StopRequest()) is not None
    return folder / "out"


def test_it_sees_success_where_object_and_goal_meet(trained: Path) -> None:
    task = compose_config([f"task.success=classifier:{trained}"]).task
    classifier = load_classifier(trained, task, "cpu")
    observation = torch.zeros(2, 42)
    observation[:, OBJECT] = observation[:, GOAL] = torch.tensor([0.05, -0.1, 0.1])
    observation[1, OBJECT] += 0.08
    there, away = (classifier.probability(observation, {}) >= classifier.threshold).tolist()
    assert there and not away


def test_the_report_has_the_chosen_threshold_on_its_curve(trained: Path) -> None:
    report = json.loads((trained / "report.json").read_text())
    assert report["precision"] > 0.8 and report["recall"] > 0.5 and report["episodes"] == 40
    assert 0 < report["threshold"] < 1 and len(report["curve"]["recall"]) <= 400


def test_a_changed_file_is_another_judge(trained: Path, tmp_path: Path) -> None:
    task = compose_config([f"task.success=classifier:{tmp_path}"]).task
    for name in ("classifier.json", "classifier.pt"):
        (tmp_path / name).write_bytes((trained / name).read_bytes())
    before = who_says_success(task)
    assert before.startswith("classifier ")
    (tmp_path / "classifier.pt").write_bytes(b"other")
    assert who_says_success(task) != before


def test_other_weights_on_pictures_are_another_judge(trained: Path, tmp_path: Path) -> None:
    task = compose_config([f"task.success=classifier:{tmp_path}"]).task
    (tmp_path / "classifier.json").write_bytes((trained / "classifier.json").read_bytes())
    weights = tmp_path / "pictures" / "model.safetensors"
    weights.parent.mkdir()
    judges = set[str]()
    for content in (b"these", b"others"):
        weights.write_bytes(content)
        judges.add(who_says_success(task))
    assert len(judges) == 2


def test_another_number_of_successful_frames_is_another_judge(trained: Path) -> None:
    words = [f"task.success=classifier:{trained}"]
    once, twice = (
        who_says_success(compose_config([*words, f"task.success_frames={frames}"]).task) for frames in (1, 2)
    )
    assert once != twice and twice.endswith("for 2 frames")


def test_files_of_a_judge_are_read_once_and_folders_beside_them_never(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = compose_config([f"task.success=classifier:{tmp_path}"]).task
    (tmp_path / "classifier.json").write_bytes((trained / "classifier.json").read_bytes())
    (tmp_path / "encoder" / ".cache").mkdir(parents=True)
    (tmp_path / "encoder" / "model.safetensors").write_bytes(b"weights")
    read, read_bytes = list[str](), Path.read_bytes

    def noted(self: Path) -> bytes:
        read.append(self.name)
        return read_bytes(self)

    monkeypatch.setattr(Path, "read_bytes", noted)
    assert who_says_success(task) == who_says_success(task)
    assert read.count("model.safetensors") == 1


@pytest.mark.parametrize("wrong", [{"members": -1}, {"members": 10**9}, {"hidden": [-4]}, {"hidden": [8]}])
def test_a_description_that_does_not_fit_the_weights_is_one_line(
    wrong: dict[str, object], trained: Path, tmp_path: Path
) -> None:
    shutil.copy(trained / "classifier.pt", tmp_path)
    described = json.loads((trained / "classifier.json").read_text()) | wrong
    (tmp_path / "classifier.json").write_text(json.dumps(described))
    with pytest.raises(CheckpointError) as refused:
        load_classifier(tmp_path, compose_config([]).task, "cpu")
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("word", "says"),
    [
        ("task=stack_cube", "is of PickCube-v1, the task is StackCube-v1"),
        ("task.sizes=[40,7]", "for 42 observation dimensions, the task has 40"),
    ],
)
def test_a_classifier_for_another_observation_is_refused(word: str, says: str, trained: Path) -> None:
    task = compose_config([word]).task
    with pytest.raises(CheckpointError, match=says):
        load_classifier(trained, task, "cpu")


def test_no_classifier_is_one_line(tmp_path: Path) -> None:
    task = compose_config([f"task.success=classifier:{tmp_path}"]).task
    with pytest.raises(CheckpointError, match="train-reward"):
        who_says_success(task)


def test_demonstrations_without_success_are_refused(tmp_path: Path) -> None:
    demos = write_episodes(tmp_path / "demos.h5", count=3, reach=0.5)
    asked = compose_reward_training([f"demos={demos}", f"out={tmp_path}/out"])
    with pytest.raises(DemonstrationError, match="none of 3 episodes has a successful frame"):
        train_reward(asked, StopRequest())
