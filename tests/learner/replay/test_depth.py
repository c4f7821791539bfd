"""Depth beside colours on its way from the rollout to ring and dataset, and read by LeRobot's own reader."""

from pathlib import Path

import msgspec
import numpy as np
import pytest
import torch
from lerobot.datasets.lerobot_dataset import LeRobotDataset

from actor.policy.spec import experience_spec
from learner.replay.dataset.compaction import Budget
from learner.replay.dataset.store import LeRobotStore
from learner.replay.memory.ring import Ring
from learner.replay.restore.ring import restore_ring
from learner.replay.tools.merge import Selection, export, merge
from learner.replay.tools.verify import verify
from protocol.arrays import Limits, ProtocolError
from protocol.codec import decode_from_client, encode
from protocol.experience import ExperienceCheck
from protocol.messages import Columns, Experience
from tests.support.columns import camera_experience
from tests.support.fakes import CountingBase, distance_of
from tests.support.helpers import make_config
from tests.support.journals import Writer
from tests.support.spec import make_spec

pytestmark = pytest.mark.timeout(600)

CAMERAS = ("top", "top_depth")
SIZES = dict.fromkeys(CAMERAS, (16, 32))
DEPTH = "observation.images.top_depth"


def experience(frames: int = 24) -> Columns:
    return camera_experience(frames, cameras=CAMERAS)


def make_store(folder: Path, images: str, **more) -> LeRobotStore:
    return LeRobotStore(
        folder, repo_id="seen", observation_dim=3, action_dim=2, fps=20, robot_type="panda", task="t",
        queue_episodes=8, flush_s=600.0, cameras=more.pop("cameras", SIZES), images=images, **more,
    )  # fmt: skip


def check_frames(folder: Path, unit: str = "mm") -> LeRobotDataset:
    """Every frame of every episode has the distances of its own state, to the millimetre."""
    dataset = LeRobotDataset("seen", root=folder, video_backend="pyav", depth_output_unit=unit)
    for index in range(len(dataset)):
        frame = dataset[index]
        shown, expected = frame[DEPTH], float(distance_of(frame["observation.state"].numpy()))
        assert shown.shape == (1, 16, 32)
        torch.testing.assert_close(
            shown, torch.full_like(shown, expected if unit == "mm" else expected / 1000), rtol=0, atol=1e-5
        )
    return dataset


def test_distances_cross_the_wire_beside_their_observations() -> None:
    words = ("task.cameras=[top,top_depth]", "task.camera_size=[32,16]", "algo.residual_every=4")
    spec, columns = experience_spec(make_config(*words), CountingBase()), experience()
    limits = msgspec.convert(make_config().wire, Limits, from_attributes=True)
    frames = [bytes(each) for each in encode(Experience(session=1, sequence=0, columns=columns), limits)]
    received = decode_from_client(frames, limits).columns
    ExperienceCheck(spec)(received)
    shown, final = received["image.top_depth"], received["final_image.top_depth"]
    assert shown.dtype == np.uint16 and shown.shape[2:] == (16, 32, 1) and shown.max() > 2**15
    executed = np.arange(4) < received["frames"][:, None]
    assert np.array_equal(shown[executed][:, 3, 5, 0], distance_of(received["observation"][executed]))
    assert not shown[~executed].any()
    assert np.array_equal(final[:, 0, 0, 0], distance_of(received["final_observation"]))
    with pytest.raises(ProtocolError, match="image.top_depth is uint8 .*expected uint16"):
        ExperienceCheck(spec)(columns | {"image.top_depth": shown.astype(np.uint8)})


def test_the_journal_gives_another_process_the_same_distances(tmp_path: Path) -> None:
    spec = make_spec(observation_dim=3, action_dim=2, act_horizon=4, residual_every=4, cameras=SIZES)
    columns = experience()
    writer = Writer(tmp_path, spec=spec)
    writer.append(1, 0, columns)
    writer.wait_for(lambda: writer.durable.get(1) == 1)
    writer.journal.close()
    again = Writer(tmp_path, spec=spec)
    [item] = again.replayed
    for name in ("image.top_depth", "final_image.top_depth"):
        assert item.columns[name].dtype == np.uint16
        assert np.array_equal(item.columns[name], columns[name])
    again.journal.close()


@pytest.mark.parametrize("images", ["image", "video"])
def test_lerobot_reads_the_same_millimetres_back(images: str, tmp_path: Path) -> None:
    folder, columns = tmp_path / "replay", experience(14)
    for session in range(2):
        with make_store(folder, images) as store:
            store.add("a", session, columns)
    assert verify(folder) == []
    check_frames(folder, "m")
    dataset = check_frames(folder)
    assert dataset.meta.depth_keys == [DEPTH]
    # Only colours are a video.
    assert len({path.parts[-3] for path in folder.glob("videos/*/*/*.mp4")}) == (images == "video")
    states = np.stack([dataset[i]["observation.state"].numpy() for i in range(len(dataset))])
    found, expected = dataset.meta.stats[DEPTH], distance_of(states).astype(float)
    assert found["mean"].shape == (1, 1, 1)
    assert found["mean"].item() == pytest.approx(expected.mean())
    assert (found["min"].item(), found["max"].item()) == (expected.min(), expected.max())


def test_depth_alone_needs_no_video(tmp_path: Path) -> None:
    columns = camera_experience(14, cameras=("top_depth",))
    with make_store(tmp_path / "replay", "video", cameras={"top_depth": (16, 32)}) as store:
        store.add("a", 0, columns)
    check_frames(tmp_path / "replay")
    assert verify(tmp_path / "replay") == []


@pytest.mark.parametrize("images", ["image", "video"])
def test_exported_merged_and_shortened_replays_keep_their_depth(images: str, tmp_path: Path) -> None:
    for name in ("one", "two"):
        with make_store(tmp_path / name, images, budget=Budget(max_frames=40)) as store:
            for session in range(2):
                store.add(name, session, experience(12))
    export(tmp_path / "one", tmp_path / "part", Selection(actors=("one",)))
    merge([tmp_path / "part", tmp_path / "two"], tmp_path / "all")
    for name in ("part", "all"):
        check_frames(tmp_path / name)
        assert verify(tmp_path / name) == []


def test_a_ring_keeps_each_distance_once_and_beside_its_observation() -> None:
    ring, plain = Ring(64, 3, 8, cameras=SIZES), Ring(64, 3, 8)
    assert ring.nbytes - plain.nbytes == 64 * 16 * 32 * (3 + 2)
    for _ in range(9):
        ring.add("a", experience())
    batch, seen = ring.sample_with_images(200, np.random.default_rng(0), n_step=3, gamma=0.9, reward_offset=0)
    for observation, images in (
        (batch.observation, seen.images), (batch.next_observation, seen.next_images),
    ):  # fmt: skip
        found = images["top_depth"].numpy().view(np.uint16)
        assert np.array_equal(found[:, 7, 9, 0], distance_of(observation.numpy()))


@pytest.mark.parametrize("images", ["image", "video"])
def test_a_rings_distances_come_back_from_the_dataset_to_the_bit(images: str, tmp_path: Path) -> None:
    columns, ring = experience(12), Ring(64, 3, 8, cameras=SIZES)
    with make_store(tmp_path / "replay", images) as store:
        for session in range(2):
            store.add("a", session, columns, ring.add("a", columns))
    back = Ring(64, 3, 8, cameras=SIZES)
    assert restore_ring(tmp_path / "replay", back) > 6
    slots = np.flatnonzero(back.rows.following != back.rows.unknown)
    assert len(slots) > 3
    assert torch.equal(back.images.at(slots)["top_depth"], ring.images.at(slots)["top_depth"])
