"""What pictures are made of, by their name in task.cameras: a camera's colours, or its depth."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

DEPTH = "_depth"
"""Behind the name of a camera: how far away what it shows is."""


class Modality(NamedTuple):
    """A kind of pictures, which are arrays (height, width, channels)."""

    dtype: str
    """A key of `protocol.arrays.DTYPES`."""
    channels: int
    unit: str

    def shape[T](self, size: Sequence[T]) -> tuple[T | int, ...]:
        """Of a picture of `size` (height, width)."""
        return (*size, self.channels)


COLOURS = Modality("u1", 3, "red, green, blue")
DISTANCES = Modality("u2", 1, "millimetres")
"""Along the camera's axis; 65535 for all that is farther."""


def modality_of(name: str) -> Modality:
    """Of the pictures of this name."""
    return DISTANCES if name.endswith(DEPTH) else COLOURS


def camera_of(name: str) -> str:
    """The simulator's camera that shows them."""
    return name.removesuffix(DEPTH)


def depths_in(names: Iterable[str]) -> list[str]:
    """Those that are distances."""
    return [name for name in names if modality_of(name) is DISTANCES]
