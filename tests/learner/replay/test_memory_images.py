"""Camera images on their way from the rollout into the dataset; LeRobot's own reader reads them back."""

import time
from pathlib import Path

import msgspec
import numpy as np
import pytest
import torch
from lerobot.datasets.lerobot_dataset import LeRobotDataset

from actor.loop import rows_in_a_message
from actor.policy.spec import experience_spec
from actor.simulators.contract import TaskError
from learner.replay.dataset.compaction import Budget
from learner.replay.dataset.format.spec import DatasetError
from learner.replay.dataset.store import LeRobotStore
from learner.replay.memory.ring import Ring
from learner.replay.restore.ring import restore_ring
from learner.replay.tools.merge import Selection, export, merge
from learner.replay.tools.repair import repair
from learner.replay.tools.verify import verify
from protocol.arrays import Limits, ProtocolError
from protocol.codec import decode_from_client, encode
from protocol.experience import ExperienceCheck
from protocol.messages import Columns, Experience, ExperienceSpec
from tests.support.columns import CAMERAS, SIZES
from tests.support.columns import camera_experience as experience
from tests.support.fakes import CountingBase
from tests.support.helpers import make_config

pytestmark = pytest.mark.timeout(600)

KEYS = [f"observation.images.{camera}" for camera in CAMERAS]


def spec_of(every: int = 4) -> ExperienceSpec:
    config = make_config(
        "task.cameras=[top,wrist]", "task.camera_size=[32,16]", f"algo.residual_every={every}"
    )
    return experience_spec(config, CountingBase())


def make_store(folder: Path, images: str, **more) -> LeRobotStore:
    return LeRobotStore(
        folder, repo_id="seen", observation_dim=3, action_dim=2, fps=20, robot_type="panda", task="t",
        queue_episodes=8, flush_s=more.pop("flush_s", 600.0), cameras=SIZES, images=images, **more,
    )  # fmt: skip


def pixels(dataset: LeRobotDataset, index: int, key: str) -> np.ndarray:
    """u1-like (H, W, 3) of a frame, and what it must show: see ScriptedEnvironment."""
    image = dataset[index][key]
    assert image.shape == (3, 16, 32) and image.min() >= 0 and image.max() <= 1
    return (image.permute(1, 2, 0) * 255).numpy()


def check_frames(folder: Path, tolerance: float) -> LeRobotDataset:
    """Every frame of every episode shows its own state."""
    # The default backend wants FFmpeg's libraries in the system.
    dataset = LeRobotDataset("seen", root=folder, video_backend="pyav")
    for index in range(len(dataset)):
        state = dataset[index]["observation.state"].numpy()
        for i, key in enumerate(KEYS):
            shown = pixels(dataset, index, key)
            expected = state.astype(np.uint8) + np.array([0, 0, i], np.uint8)
            assert np.abs(shown - expected).max() <= tolerance, (index, key, shown[0, 0], expected)
    return dataset


# Full chroma resolution and brightness are not kept by a video; two frames differ by one level at most.
TOLERANCE = {"image": 0.01, "video": 5.0}


@pytest.mark.parametrize("every", [1, 4])
def test_images_cross_the_wire_beside_their_observations(every: int) -> None:
    columns, spec = experience(every=every), spec_of(every)
    limits = msgspec.convert(make_config().wire, Limits, from_attributes=True)
    message = Experience(session=1, sequence=0, columns=columns)
    frames = [bytes(frame) for frame in encode(message, limits)]
    assert sum(map(len, frames)) <= spec.row_bytes * len(columns["frames"]) + len(frames[0])
    received = decode_from_client(frames, limits).columns
    ExperienceCheck(spec)(received)
    executed = np.arange(every) < received["frames"][:, None]
    for i, camera in enumerate(CAMERAS):
        expected = received["observation"].astype(np.uint8) + np.array([0, 0, i], np.uint8)
        shown = received[f"image.{camera}"]
        assert np.array_equal(
            shown[executed], np.broadcast_to(expected[:, :, None, None], shown.shape)[executed]
        )
        assert not shown[~executed].any()
        final = received[f"final_image.{camera}"][:, 0, 0, 0]
        assert np.array_equal(final, received["final_observation"][:, 0].astype(np.uint8))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda c: c.pop("image.top"), r"missing: \['image.top'\]"),
        (lambda c: c.update({"image.other": c["image.top"]}), r"unknown: \['image.other'\]"),
        (
            lambda c: c.update({"image.top": c["image.top"][:, :, :8]}),
            "image.top is uint8 .*8, 32, 3.*expected",
        ),
        (lambda c: c.update({"final_image.top": c["final_image.top"] / 1}), "final_image.top is float64"),
    ],
)
def test_images_other_than_the_specs_are_refused(change, says: str) -> None:
    columns = experience()
    change(columns)
    with pytest.raises(ProtocolError, match=says):
        ExperienceCheck(spec_of())(columns)


def test_without_cameras_the_spec_crosses_as_before() -> None:
    spec = experience_spec(make_config(), CountingBase())
    assert "cameras" not in msgspec.to_builtins(spec)
    off = make_config("task.cameras=[top]", "learner.record_images=null")
    assert experience_spec(off, CountingBase()).cameras == {}


def test_messages_stay_below_the_largest_size() -> None:
    large = make_config("task.cameras=[top]", "task.camera_size=[1024,1024]", "actor.num_envs=2")
    spec = experience_spec(large, CountingBase())
    rows = rows_in_a_message(large, spec)
    assert 1 <= rows < 64 and (rows + 2) * spec.row_bytes <= large.wire.max_message_bytes
    assert rows_in_a_message(make_config(), experience_spec(make_config(), CountingBase())) == 64
    with pytest.raises(TaskError, match=r"wire\.max_message_bytes"):
        larger = make_config("task.cameras=[top]", "task.camera_size=[4096,4096]")
        rows_in_a_message(larger, experience_spec(larger, CountingBase()))


@pytest.mark.parametrize("images", ["image", "video"])
def test_lerobot_reads_every_frame_back_while_it_grows_and_after(images: str, tmp_path: Path) -> None:
    folder, columns = tmp_path / "replay", experience(14)
    with make_store(folder, images, flush_s=0.05) as store:
        for session in range(3):
            store.add("a", session, columns)
            deadline = time.monotonic() + 30
            while store.episodes < (session + 1) * len(columns["final_row"]) and time.monotonic() < deadline:
                time.sleep(0.01)
            check_frames(folder, TOLERANCE[images])
            assert verify(folder) == []
    dataset = check_frames(folder, TOLERANCE[images])
    assert dataset.num_episodes == 3 * len(columns["final_row"]) and verify(folder) == []
    assert len(list(folder.glob("videos/*/*/*.mp4"))) == (2 if images == "video" else 0)
    state = dataset.meta.stats["observation.state"]
    for key in KEYS:
        stats = dataset.meta.stats[key]
        assert stats["mean"].shape == (3, 1, 1)
        assert stats["mean"][1, 0, 0] == pytest.approx(state["mean"][1] / 255)
        assert dataset.meta.features[key]["dtype"] == images


@pytest.mark.parametrize("images", ["image", "video"])
def test_a_replay_with_images_goes_on_in_another_process(images: str, tmp_path: Path) -> None:
    for session in range(2):
        with make_store(tmp_path / "replay", images) as store:
            store.add("a", session, experience(12))
    check_frames(tmp_path / "replay", TOLERANCE[images])
    with pytest.raises(DatasetError, match="cameras"):
        LeRobotStore(
            tmp_path / "replay", repo_id="seen", observation_dim=3, action_dim=2, fps=20, robot_type="panda",
            task="t", queue_episodes=8, flush_s=1.0,
        )  # fmt: skip


@pytest.mark.parametrize("images", ["image", "video"])
def test_exported_merged_and_shortened_replays_keep_their_images(images: str, tmp_path: Path) -> None:
    for name in ("one", "two"):
        with make_store(tmp_path / name, images) as store:
            store.add(name, 0, experience(12))
            store.add("other", 0, experience(12))
    export(tmp_path / "one", tmp_path / "part", Selection(actors=("one",)))
    merge([tmp_path / "part", tmp_path / "two"], tmp_path / "all")
    for name in ("part", "all"):
        check_frames(tmp_path / name, TOLERANCE[images])
        assert verify(tmp_path / name) == []
    with make_store(tmp_path / "short", images, budget=Budget(max_frames=40), flush_s=0.02) as store:
        for session in range(5):
            store.add("a", session, experience(12))
            deadline = time.monotonic() + 30
            while ("a", session, 1) not in store.committed() and time.monotonic() < deadline:
                time.sleep(0.01)
    assert check_frames(tmp_path / "short", TOLERANCE[images]).num_frames <= 40
    assert verify(tmp_path / "short") == []


def test_a_missing_or_broken_video_is_found_and_repaired(tmp_path: Path) -> None:
    folder = tmp_path / "replay"
    for session in range(2):
        # Two videos: what is left of a process is merged with what the next one writes at its end alone.
        with make_store(folder, "video", flush_s=0.02) as store:
            store.add("a", session, experience(12))
    merged = sorted(folder.glob("videos/*top/*/*.mp4"))
    whole = merged[0].read_bytes()
    merged[0].write_bytes(whole[: len(whole) // 2])
    assert any("observation.images.top" in line and "broken" in line for line in verify(folder))
    merged[0].unlink()
    assert any("is missing" in line for line in verify(folder))
    with pytest.raises(DatasetError, match="holds no whole episode.*is missing"):
        repair(folder)


def ring_of(columns: Columns, cameras: dict[str, tuple[int, int]] | None = SIZES) -> Ring:
    ring = Ring(64, 3, 8, cameras=cameras)
    ring.add("a", columns)
    return ring


def test_a_rings_images_belong_to_its_observations_also_after_wrapping_around() -> None:
    ring, plain = ring_of(experience()), ring_of(experience(), None)
    assert ring.nbytes - plain.nbytes == 64 * 2 * 16 * 32 * 3
    for _ in range(9):
        ring.add("a", experience())
    assert ring.rows.position > 2 * ring.capacity
    batch, seen = ring.sample_with_images(200, np.random.default_rng(0), n_step=3, gamma=0.9, reward_offset=0)
    same = ring.sample(200, np.random.default_rng(0), n_step=3, gamma=0.9, reward_offset=0)
    assert all(torch.equal(one, other) for one, other in zip(batch, same, strict=True))
    pairs = ((batch.observation, seen.images), (batch.next_observation, seen.next_images))
    for i, camera in enumerate(CAMERAS):
        for observation, images in pairs:
            expected = observation.numpy().astype(np.uint8) + np.array([0, 0, i], np.uint8)
            shown = images[camera].numpy()
            assert np.array_equal(shown, np.broadcast_to(expected[:, None, None], shown.shape))
    with pytest.raises(ValueError, match="keeps no images"):
        plain.sample_with_images(1, np.random.default_rng(0), n_step=1, gamma=0.9, reward_offset=0)


@pytest.mark.parametrize("images", ["image", "video"])
def test_a_rings_images_come_back_from_the_dataset(images: str, tmp_path: Path) -> None:
    """To the bit from pictures, as the video shows them from videos; final images are exact in both."""
    columns = experience(12)
    with make_store(tmp_path / "replay", images) as store:
        ring = Ring(64, 3, 8, cameras=SIZES)
        for session in range(2):
            store.add("a", session, columns, ring.add("a", columns))
    back = Ring(64, 3, 8, cameras=SIZES)
    assert restore_ring(tmp_path / "replay", back) > 6
    draw = dict(n_step=2, gamma=0.9, reward_offset=0.0)
    batch, seen = back.sample_with_images(200, np.random.default_rng(0), **draw)
    for observation, found in (
        (batch.observation, seen.images), (batch.next_observation, seen.next_images),
    ):  # fmt: skip
        for i, camera in enumerate(CAMERAS):
            expected = observation.numpy().astype(np.uint8) + np.array([0, 0, i], np.uint8)
            shown = found[camera].numpy().astype(int)
            assert np.abs(shown - expected[:, None, None]).max() <= TOLERANCE[images]
    if images == "image":
        slots = np.flatnonzero(back.rows.following != back.rows.unknown)
        assert len(slots) > 3 and np.array_equal(back.rows.following[slots], ring.rows.following[slots])
        for camera in CAMERAS:
            assert torch.equal(back.images.at(slots)[camera], ring.images.at(slots)[camera])


def test_a_ring_that_keeps_images_refuses_a_dataset_without_any(tmp_path: Path) -> None:
    with LeRobotStore(
        tmp_path / "replay", repo_id="seen", observation_dim=3, action_dim=2, fps=20, robot_type="panda",
        task="t", queue_episodes=8, flush_s=600.0,
    ) as store:  # fmt: skip
        store.add("a", 0, experience(12))
    with pytest.raises(DatasetError, match=r"learner\.replay_images=false"):
        restore_ring(tmp_path / "replay", Ring(64, 3, 8, cameras=SIZES))
