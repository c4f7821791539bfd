"""How fast frames with pictures become a dataset: the store, LeRobot's own recording, the bare encoders."""

import contextlib
import functools
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import av.logging
import numpy as np

from benchmarks.pictures_film import Film, seen_messages
from benchmarks.replay import EPISODE, lerobot_frames, open_store, record
from benchmarks.turns import Cost, beside, in_turns, timed
from learner.replay.dataset.format.video import VideoWriter, as_png
from protocol.arrays import Columns

FPS = 20
# Of one camera, as `lerobot-record` has by default.
WRITER_THREADS = 4
# Two threads are what `lerobot-record` recommends. The encoder drops frames that wait for 0.1 s: with room
# for a whole episode none does.
STREAMING: dict[str, Any] = {
    "use_videos": True, "streaming_encoding": True, "encoder_threads": 2, "encoder_queue_maxsize": EPISODE,
}  # fmt: skip
NAMES = ["height", "width", "channels"]

Record = Callable[[Path], Cost]
"""Writes all frames into a folder that does not exist."""


def measure(rounds: int, frames: int, size: int, scratch: Path) -> dict[str, dict[str, float]]:
    """Figures of "image" and of "video", all sides in turns."""
    silence()
    film = Film(size)
    sent = list(seen_messages(frames, film))
    episodes = sum(len(columns["final_row"]) for columns in sent)
    features, rows = as_lerobot_frames(sent, film, episodes, scratch / "numbers")
    ours = functools.partial(record_ours, sent=sent, film=film)
    theirs = functools.partial(record_theirs, features=features, frames=rows)
    sides: dict[str, Record] = {
        "image ours": functools.partial(ours, images="image"),
        "image peer": functools.partial(theirs, use_videos=False),
        "image ceiling": functools.partial(encode_pngs, film=film, episodes=episodes),
        "video ours": functools.partial(ours, images="video"),
        "video peer": functools.partial(theirs, codec=h264(), **STREAMING),
        "video peer_av1": functools.partial(theirs, **STREAMING),
        "video ceiling": functools.partial(encode_videos, film=film, episodes=episodes),
    }
    kilobytes: dict[str, float] = {}

    def turn(name: str, record: Record) -> Cost:
        folder = scratch / name
        cost = record(folder)
        kilobytes[name] = round(folder_bytes(folder) / 1e3 / len(rows), 2)
        shutil.rmtree(folder)
        return cost

    turns = {name: functools.partial(turn, name, record) for name, record in sides.items()}
    costs = in_turns(turns, rounds)
    return {kind: figures(kind, costs, kilobytes) for kind in ("image", "video")}


def silence() -> None:
    """LeRobot gives the encoders their own voice back, and shows how far it is with each episode."""
    from datasets.utils.logging import disable_progress_bar

    disable_progress_bar()
    av.logging.set_libav_level(av.logging.ERROR)
    os.environ["SVT_LOG"] = "1"  # errors


def figures(kind: str, costs: dict[str, Cost], kilobytes: dict[str, float]) -> dict[str, float]:
    """Of the sides whose names begin with `kind`."""
    names = {name: name.removeprefix(f"{kind} ") for name in costs if name.startswith(kind)}
    return beside({short: costs[name] for name, short in names.items()}, "frame", "frames") | {
        f"{short}_kb_per_frame": kilobytes[name] for name, short in names.items()
    }


def folder_bytes(folder: Path) -> int:
    """Of all files in it."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def h264() -> Any:
    """The settings of h264 that `lerobot-record` shows."""
    from lerobot.configs.video import RGBEncoderConfig

    options = {"tune": "film", "profile:v": "high", "bf": 2}
    return RGBEncoderConfig(vcodec="h264", preset="fast", extra_options=options)


def record_ours(folder: Path, *, images: str, sent: list[Columns], film: Film) -> Cost:
    """From messages in memory to a closed dataset, in one commit."""
    frames = sum(int(columns["frames"].sum()) for columns in sent)

    def write() -> None:
        with open_store(folder, flush_s=3600.0, cameras=film.cameras, images=images) as store:
            for columns in sent:
                store.add("actor", 1, columns)
        assert store.frames == frames

    return timed(frames, write)


def as_lerobot_frames(
    sent: list[Columns], film: Film, episodes: int, folder: Path
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The same frames as LeRobot's writer takes them, and their features but for the pictures' dtype."""
    with open_store(folder, flush_s=3600.0) as store:
        for columns in sent:
            store.add("actor", 1, {name: column for name, column in columns.items() if "image." not in name})
    features, frames = lerobot_frames(folder, episodes)
    for number, frame in enumerate(frames):
        pictures = film.at(*divmod(number, EPISODE))
        frame |= {f"observation.images.{camera}": picture for camera, picture in pictures.items()}
    for camera, size in film.cameras.items():
        features[f"observation.images.{camera}"] = {"shape": (*size, 3), "names": NAMES}
    return features, frames


def record_theirs(
    folder: Path,
    *,
    features: dict[str, Any],
    frames: list[dict[str, Any]],
    use_videos: bool,
    codec: Any = None,
    **how: Any,
) -> Cost:
    """LeRobot's own recording, with the threads that `lerobot-record` has."""
    from lerobot.datasets.lerobot_dataset import LeRobotDataset

    kind = {"dtype": "video" if use_videos else "image"}
    features = {name: feature if "dtype" in feature else feature | kind for name, feature in features.items()}
    cameras = sum(feature["dtype"] == kind["dtype"] for feature in features.values())
    made = LeRobotDataset.create(
        "benchmark/theirs", fps=FPS, features=features, root=folder, use_videos=use_videos,
        image_writer_threads=WRITER_THREADS * cameras, rgb_encoder=codec, **how,
    )  # fmt: skip
    return timed(len(frames), lambda: record(made, frames))


def encode_pngs(folder: Path, *, film: Film, episodes: int) -> Cost:
    """PNGs of all pictures as the store makes them, one after another, and into one file."""
    folder.mkdir()

    def write() -> None:
        with (folder / "pictures").open("wb") as file:
            for episode in range(episodes):
                for shots in film.at(episode, np.arange(EPISODE)).values():
                    file.writelines(map(as_png, shots))

    return timed(episodes * EPISODE, write)


def encode_videos(folder: Path, *, film: Film, episodes: int) -> Cost:
    """A video of each camera as the store makes it, and nothing else."""

    def write() -> None:
        with contextlib.ExitStack() as stack:
            videos = {
                camera: stack.enter_context(
                    contextlib.closing(VideoWriter(folder / f"{camera}.mp4", FPS, *size))
                )
                for camera, size in film.cameras.items()
            }
            for episode in range(episodes):
                for camera, shots in film.at(episode, np.arange(EPISODE)).items():
                    videos[camera].add(shots)

    return timed(episodes * EPISODE, write)
