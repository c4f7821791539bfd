"""Settings of what a residual's networks make of pictures: algo.pictures."""

from config.section import Section

_KERNEL, _STRIDE = 3, 2
"""Of each layer of the encoder."""


class PicturesConfig(Section, frozen=True):
    """algo.pictures"""

    cameras: tuple[str, ...]
    size: tuple[int, int]
    frames: int
    channels: tuple[int, ...]
    width: int
    shift: int
    depth_range: tuple[float, float]

    def __post_init__(self) -> None:
        self.at_least(1, "frames", "width")
        self.at_least(0, "shift")
        self.require(min(self.channels, default=0) >= 1, "channels", "one number or more, each at least 1")
        self.require(len(set(self.cameras)) == len(self.cameras), "cameras", "different names")
        near, far = self.depth_range
        self.require(0 <= near < far, "depth_range", "[near, far] in metres with 0 <= near < far")
        self.require(min(self.encoded_size) >= 1, "channels", f"fewer layers for size={list(self.size)}")

    @property
    def encoded_size(self) -> tuple[int, int]:
        """Width and height behind the last layer."""
        width, height = self.size
        for _ in self.channels:
            width, height = ((side - _KERNEL) // _STRIDE + 1 for side in (width, height))
        return width, height

    def describe(self) -> str:
        """In words, which learner and actors compare."""
        width, height = self.size
        shape = f"{width}x{height} frames {self.frames} {list(self.channels)} {self.width}"
        return f"{', '.join(self.cameras)} {shape} depth {list(self.depth_range)}"
