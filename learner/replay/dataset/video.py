"""Camera images on disk: videos of a shard's episodes end to end, and single pictures."""

from __future__ import annotations

import io
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from PIL import Image

from learner.replay.dataset import swap as generations

# As LeRobot encodes: every second frame stands for itself, so that any frame is found quickly. No frame
# refers to a later one: what was written first is shown first.
CODEC, PIXELS = "h264", "yuv420p"
_OPTIONS = {"g": "2", "crf": "18", "bf": "0", "preset": "veryfast", "threads": "1"}


class VideoWriter:
    """One camera's frames, encoded as they come; `close` makes the file whole."""

    def __init__(self, path: Path, fps: int, height: int, width: int) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        generations.reached("open", path)
        self.path, self.frames, self._fps = path, 0, fps
        self._container = av.open(str(path), "w", format="mp4")
        stream: Any = self._container.add_stream(CODEC, fps, options=_OPTIONS)
        stream.width, stream.height, stream.pix_fmt = width, height, PIXELS
        stream.time_base = Fraction(1, fps)
        self._stream = stream

    def add(self, images: np.ndarray) -> None:
        """Append u1 (T, H, W, 3)."""
        for image in images:
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
            frame.pts, frame.time_base = self.frames, Fraction(1, self._fps)
            self._container.mux(self._stream.encode(frame))
            self.frames += 1

    def close(self) -> None:
        """Flush the encoder and write the file's index."""
        generations.reached("close", self.path)
        self._container.mux(self._stream.encode(None))
        self._container.close()


def join(paths: Sequence[Path], target: Path, fps: int) -> list[int]:
    """One video of several of the same kind, without encoding anew; returns where each begins, in frames."""
    starts, first = [], 0
    with av.open(str(target), "w", format="mp4") as output:
        stream: Any = None
        for path in paths:
            starts.append(first)
            with av.open(str(path)) as container:
                source = container.streams.video[0]
                if stream is None:
                    stream = output.add_stream_from_template(source)
                    stream.time_base = source.time_base
                ticks = int(1 / (fps * source.time_base))
                for packet in container.demux(source):
                    if packet.dts is None:
                        continue
                    packet.pts, packet.dts = packet.pts + first * ticks, packet.dts + first * ticks
                    packet.stream = stream
                    output.mux(packet)
                first += source.frames
    return starts


def count_frames(path: Path) -> int:
    """Frames of a video, by its index.

    Raises:
        av.FFmpegError: it is not whole.
    """
    with av.open(str(path)) as container:
        return container.streams.video[0].frames


def read_frames(path: Path) -> np.ndarray:
    """All frames of a video, u1 (T, H, W, 3)."""
    with av.open(str(path)) as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])


def as_png(image: np.ndarray) -> bytes:
    """u1 (H, W, 3) -> the bytes of a PNG file, exact to the bit."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, format="PNG", compress_level=1)
    return buffer.getvalue()


def from_png(content: bytes) -> np.ndarray:
    """The other way round."""
    return np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))
