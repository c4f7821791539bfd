"""What the robot does that a person may drive: the newest pictures that its actor writes, as a stream."""

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path

from starlette.responses import Response, StreamingResponse

from config.actor import PICTURES_FOLDER

_BOUNDARY = "picture"
# An actor that was killed leaves its last picture.
_FRESH_S = 10.0
_LOOK_S = 0.01


def live_names(run_dir: Path) -> list[str]:
    """Actors whose pictures are not older than some seconds; the first one of a film takes half a minute."""
    return sorted(path.stem for path in (run_dir / PICTURES_FOLDER).glob("*.jpg") if _is_fresh(path))


def picture_stream(run_dir: Path, name: str) -> Response:
    """Each new picture of an actor, until there are no more (multipart/x-mixed-replace)."""
    kind = f"multipart/x-mixed-replace; boundary={_BOUNDARY}"
    return StreamingResponse(_pictures(run_dir / PICTURES_FOLDER / f"{name}.jpg"), media_type=kind)


async def _pictures(path: Path) -> AsyncIterator[bytes]:
    shown = 0
    while _is_fresh(path):
        try:
            stamp = path.stat().st_mtime_ns
            picture = path.read_bytes() if stamp != shown else b""
        except FileNotFoundError:
            return
        if picture:
            shown = stamp
            head = f"--{_BOUNDARY}\r\nContent-Type: image/jpeg\r\nContent-Length: {len(picture)}\r\n\r\n"
            yield head.encode() + picture + b"\r\n"
        await asyncio.sleep(_LOOK_S)


def _is_fresh(path: Path) -> bool:
    try:
        return time.time() - path.stat().st_mtime < _FRESH_S
    except FileNotFoundError:
        return False
