"""LeRobot's reward classifier on pictures: from a dataset to a folder that judges. Needs transformers."""

from pathlib import Path

import numpy as np
import pytest
import torch

from config.process import StopRequest, UsageError
from config.train_reward import RewardTraining, compose_reward_training
from learner.rewards.labels import Labels
from tests.support.identifiable import pack
from tests.support.lerobot_datasets import feature
from tests.support.recorder import LENGTHS, Recorder
from tests.system.replay_faults import CAMERA, with_images
from tests.system.replay_faults import SIZE as SIZE_OF_RUN

SIZE = 32


def write_dataset(folder: Path, episodes: int = 6, frames: int = 5) -> Path:
    """The picture is dark, and in the last frame, which is successful, it is bright."""
    from lerobot.datasets.lerobot_dataset import LeRobotDataset

    picture = {"dtype": "image", "shape": (SIZE, SIZE, 3), "names": ["height", "width", "channels"]}
    features = {
        "observation.state": feature("float32", 42), "action": feature("float32", 7),
        "next.success": feature("bool", 1), "observation.images.base_camera": picture,
    }  # fmt: skip
    dataset = LeRobotDataset.create(
        f"local/{folder.name}", fps=20, root=folder, features=features, use_videos=False, video_backend="pyav"
    )
    for episode in range(episodes):
        for frame in range(frames):
            last = frame == frames - 1
            dataset.add_frame(
                {
                    "observation.state": np.full(42, episode + 1, np.float32),
                    "action": np.zeros(7, np.float32),
                    "next.success": np.array([last]),
                    "observation.images.base_camera": np.full((SIZE, SIZE, 3), 220 * last + 20, np.uint8),
                    "task": "pick",
                }
            )
        dataset.save_episode()
    dataset.finalize()
    return folder


def save_encoder(folder: Path) -> Path:
    """A small one of random weights, in 4 x 4 places as LeRobot's classifier wants it."""
    from transformers import ResNetConfig, ResNetModel

    torch.manual_seed(0)
    config = ResNetConfig(embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], layer_type="basic")
    ResNetModel(config).eval().save_pretrained(folder)
    return folder


def asked(data: Path, encoder: Path | str, out: Path, *words: str) -> RewardTraining:
    return compose_reward_training(
        [
            f"demos={data}", f"encoder={encoder}", f"out={out}", "input=pictures", "folds=3", "steps=40",
            "batch_size=8", "lr=0.01", "near_frames=0", "task.cameras=[base_camera]",
            f"task.camera_size=[{SIZE},{SIZE}]", *words,
        ]
    )  # fmt: skip


def test_it_tells_bright_pictures_from_dark_ones_and_needs_no_other_files(tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    from actor.policy.classifier.files import load_classifier
    from learner.rewards.run import train_reward

    encoder = save_encoder(tmp_path / "encoder")
    training = asked(write_dataset(tmp_path / "data"), encoder, tmp_path / "out")
    report = train_reward(training, StopRequest())
    assert report is not None and report.episodes == 2, "a third of the episodes is held out"
    encoder.rename(tmp_path / "moved")
    classifier = load_classifier(tmp_path / "out", training.task, "cpu")
    pictures = torch.stack([torch.full((SIZE, SIZE, 3), value, dtype=torch.uint8) for value in (240, 20)])
    likely = classifier.probability(torch.zeros(2, 42), {"base_camera": pictures})
    assert (likely >= classifier.threshold).tolist() == [True, False]


def test_other_pictures_than_the_tasks_are_refused(tmp_path: Path) -> None:
    from learner.rewards.seen import read_pictures

    data = write_dataset(tmp_path / "data", episodes=1)
    for camera, size, says in (
        ("top", (SIZE, SIZE), "has no observation.images.top"),
        ("base_camera", (64, SIZE), "of 64 x 32 pixels"),
    ):
        with pytest.raises(UsageError, match=says):
            read_pictures([str(data)], {camera: f"observation.images.{camera}"}, size, labels((5,)))


def test_a_classifier_of_depth_is_refused(tmp_path: Path) -> None:
    from learner.rewards.pictures import train_on_pictures

    words = ("task.cameras=[base_camera,base_camera_depth]",)
    training = asked(tmp_path / "data", tmp_path / "encoder", tmp_path / "out", *words)
    with pytest.raises(UsageError, match="task.cameras names base_camera_depth: .* colours alone"):
        train_on_pictures(training, StopRequest())


def labels(frames: tuple[int, ...]) -> Labels:
    """Of episodes of so many actions, the first frame of which alone is successful."""
    success = np.concatenate([np.arange(count + 1) == 0 for count in frames])
    return Labels(success, np.repeat(np.arange(len(frames)), np.add(frames, 1)))


def read(data: Path, given: Labels) -> tuple[list[int], Labels]:
    """The brightness of each picture, and its labels."""
    from learner.rewards.seen import read_pictures

    pictures, kept = read_pictures(
        [str(data)], {"base_camera": "observation.images.base_camera"}, (SIZE, SIZE), given
    )
    return pictures["base_camera"][:, 0, 0, 0].tolist(), kept


def test_pictures_have_the_labels_given_and_the_last_one_is_used_once(tmp_path: Path) -> None:
    seen, kept = read(write_dataset(tmp_path / "data", episodes=2, frames=3), labels((3, 3)))
    assert seen == [20, 20, 240] * 2
    assert kept.success.tolist() == [True, False, False] * 2
    assert kept.episode.tolist() == [0] * 3 + [1] * 3


def test_a_replay_has_the_picture_after_the_last_action(tmp_path: Path) -> None:
    from learner.rewards.seen import read_pictures

    recorder = Recorder(tmp_path / "replay", None, "image")
    finals = []
    for truth in recorder.truths[:2]:
        recorder.commit(truth)
        finals.append(with_images(pack(truth.rows))[f"final_image.{CAMERA}"][0])
    given = labels(tuple(LENGTHS[:2]))
    features, size = {CAMERA: f"observation.images.{CAMERA}"}, (SIZE_OF_RUN[1], SIZE_OF_RUN[0])
    pictures, kept = read_pictures([str(recorder.folder)], features, size, given)
    ends = np.cumsum(np.add(LENGTHS[:2], 1)) - 1
    assert np.array_equal(pictures[CAMERA][ends], finals)
    assert np.array_equal(kept.episode, given.episode) and np.array_equal(kept.success, given.success)


@pytest.mark.parametrize(
    ("frames", "says"),
    [
        ((3, 4), "number 1 has 4 pictures and 5 labels"),
        ((3,), "number 1 has 4 pictures and 0 labels"),
        ((3, 3, 3), "number 2 has 0 pictures and 4 labels"),
    ],
)
def test_pictures_of_other_episodes_than_are_labelled_are_refused(
    frames: tuple[int, ...], says: str, tmp_path: Path
) -> None:
    data = write_dataset(tmp_path / "data", episodes=2, frames=3)
    with pytest.raises(UsageError, match=says):
        read(data, labels(frames))


def test_a_missing_encoder_is_one_line(tmp_path: Path) -> None:
    from actor.policy.lerobot.classifier import make_model

    with pytest.raises(UsageError, match=r"package that is missing|encoder=.* cannot be used") as refused:
        make_model(("top",), (SIZE, SIZE), str(tmp_path / "none"), "cpu")
    assert "\n" not in str(refused.value)
