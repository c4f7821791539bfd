"""Camera images on disk: videos of a shard's episodes end to end, and single pictures."""

import contextlib
import io
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal

import av
import numpy as np
from av.error import FFmpegError
from PIL import Image

from learner.replay.dataset.arrow import Array

# As LeRobot encodes: every second frame is a key frame, so that any frame is found quickly. No frame
# refers to a later one: what was written first is shown first.
CODEC, PIXELS = "h264", "yuv420p"
_OPTIONS = {"g": "2", "crf": "18", "bf": "0", "preset": "veryfast", "threads": "1"}


class BrokenVideoError(ValueError):
    """A video that cannot be read."""


class VideoWriter:
    """One camera's frames, encoded as they come; `close` makes the file whole. `options`: of the encoder."""

    def __init__(
        self, path: Path, fps: int, height: int, width: int, *, options: dict[str, str] = _OPTIONS
    ) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path, self.frames, self._fps = path, 0, fps
        self._container = _open(path, "w")
        stream = self._container.add_stream(CODEC, fps, options=options)
        stream.width, stream.height, stream.pix_fmt = width, height, PIXELS
        stream.time_base = Fraction(1, fps)
        self._stream = stream

    def add(self, images: Array) -> None:
        """Append u1 (T, H, W, 3)."""
        for image in images:
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
            frame.pts, frame.time_base = self.frames, Fraction(1, self._fps)
            self._container.mux(self._stream.encode(frame))
            self.frames += 1

    def close(self) -> None:
        """Flush the encoder and write the file's index."""
        self._container.mux(self._stream.encode(None))
        self._container.close()


def join(paths: Sequence[Path], target: Path, fps: int) -> list[int]:
    """One video of several of the same kind, without encoding again; returns where each begins, in frames."""
    starts: list[int] = []
    first = 0
    with contextlib.closing(_open(target, "w")) as output:
        stream: Any = None
        for path in paths:
            starts.append(first)
            with contextlib.closing(_open(path)) as container:
                source = container.streams.video[0]
                if stream is None:
                    stream = output.add_stream_from_template(source)
                    stream.time_base = source.time_base
                ticks = int(1 / (fps * source.time_base))
                for packet in container.demux(source):
                    if packet.pts is None or packet.dts is None:
                        continue
                    packet.pts, packet.dts = packet.pts + first * ticks, packet.dts + first * ticks
                    packet.stream = stream
                    output.mux(packet)
                first += source.frames
    return starts


def count_frames(path: Path) -> int:
    """Frames of a video, by its index. Raises BrokenVideoError: it is not whole."""
    try:
        with contextlib.closing(_open(path)) as container:
            return container.streams.video[0].frames
    except (FFmpegError, IndexError) as error:
        raise BrokenVideoError(str(error)) from error


def read_frames(path: Path) -> Array:
    """All frames of a video, u1 (T, H, W, 3)."""
    with contextlib.closing(_open(path)) as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])


def _open(path: Path, mode: Literal["r", "w"] = "r") -> Any:
    """A container; PyAV's stubs know only a part of what it does."""
    return av.open(str(path), mode, format="mp4")


def as_png(image: Array) -> bytes:
    """u1 (H, W, 3), or u2 (H, W, 1) -> the bytes of a PNG file, exact to the bit."""
    buffer = io.BytesIO()
    plane = image[..., 0] if image.shape[2] == 1 else image
    Image.fromarray(plane).save(buffer, format="PNG", compress_level=1)
    return buffer.getvalue()


def from_png(content: bytes) -> Array:
    """The inverse of `as_png`."""
    image = Image.open(io.BytesIO(content))
    return np.asarray(image)[..., None] if image.mode == "I;16" else np.asarray(image.convert("RGB"))
