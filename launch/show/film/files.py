"""The files of a run's films."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from config.files import replaced, require_writable
from launch.show.film.captions import Take
from launch.show.film.player import Picture
from launch.show.film_list import FOLDER
from learner.replay.dataset.format.video import VideoWriter

# Browsers find a moment in the middle at once; the file is a third of that with key frames alone.
_OPTIONS = {"g": "20", "crf": "23", "bf": "0", "preset": "veryfast", "threads": "1"}
_WEBP = {"quality": 50, "method": 4, "loop": 0, "minimize_size": False}


def make_folder(run_dir: Path) -> Path:
    """The folder of a run's films. Raises UsageError: nothing can be written there."""
    folder = run_dir / FOLDER
    require_writable(folder, folder=True)
    folder.mkdir(exist_ok=True)
    return folder


def write_mp4(path: Path, pictures: Sequence[Picture], fps: int) -> None:
    """H.264, as a whole or not at all."""
    height, width, _ = pictures[0].shape
    with replaced(path) as fresh:
        writer = VideoWriter(fresh, fps, height, width, options=_OPTIONS)
        for picture in pictures:
            writer.add(picture[None])
        writer.close()


def write_webp(path: Path, pictures: Sequence[Picture], fps: int) -> None:
    """An animated picture, which pages show where they show no films."""
    first, *rest = map(Image.fromarray, pictures)
    with replaced(path) as fresh:
        first.save(fresh, "WEBP", save_all=True, append_images=rest, duration=round(1000 / fps), **_WEBP)


def entry(file: str, kind: str, policies: Sequence[str], takes: Sequence[Take]) -> dict[str, Any]:
    """A film in the list. `as_evaluated` is None if nobody evaluated one of its seeds."""
    panels = [
        {
            "policy": policy,
            "version": take.version or 0,
            "success": take.success,
            "frames": take.frames,
            "as_evaluated": take.as_evaluated,
        }
        for policy, take in zip(policies, takes, strict=True)
    ]
    same = [take.as_evaluated for take in takes]
    last = panels[-1]
    return {
        "file": file,
        "kind": kind,
        "seed": takes[0].seed,
        "policy": ",".join(dict.fromkeys(policies)),
        "version": last["version"],
        "success": last["success"],
        "as_evaluated": False if False in same else None if None in same else True,
        "panels": panels,
    }
