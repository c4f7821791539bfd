"""The columns of experience: their one definition, and the check of what arrives.

    python -m protocol.experience      prints the table of columns in docs/reference/protocol.md

Shapes are written with letters: D rows (decisions) of a message, F episode ends in it, k = residual_every,
O = observation_dim, A = action_dim, E = features_dim, H and W the height and width of a camera's images.
"""

import enum
import functools
import itertools
import sys
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple, Protocol

import msgspec
import numpy as np
from numpy.typing import NDArray

from protocol.arrays import DTYPES, Columns, ProtocolError
from protocol.pictures import DEPTH, modality_of

IMAGE_PREFIX, FINAL_IMAGE_PREFIX = "image.", "final_image."

LARGEST_VALUE = 1e9
"""Bound of the size of every number that is checked as finite: what a simulator that blew up returns must not
reach an update, where it would stop the learner."""

Dim = int | str
"""A number, or a letter for one."""


class ExperienceSpec(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True
):
    """What both sides must agree on before a single row is sent."""

    env_id: str
    control_mode: str
    observation_dim: int
    action_dim: int
    act_horizon: int
    residual_every: int
    base_fingerprint: str
    residual_scale: float | tuple[float, ...]
    """For all dimensions of an action, or for each."""
    policy: str
    """The residual network in words, for instance "deterministic obs_base_action [256, 256]"."""
    cameras: dict[str, tuple[int, int]] = {}
    """Height and width of each camera whose images come with the experience; left out if there are none. What
    they are made of, their names say: `protocol.pictures`."""
    optional_columns: tuple[str, ...] = ()
    """Names of the optional columns that come with the experience; left out if there are none."""
    features_dim: int = 0
    """Width of the base's features that come with each decision; left out if none do."""
    success: str = "simulator"
    """Who says when an episode has succeeded; of a classifier with its digest. Left out: the simulator."""

    @property
    def sizes(self) -> dict[str, int]:
        """Values of the letters k, O, A and E."""
        return {
            "k": self.residual_every,
            "O": self.observation_dim,
            "A": self.action_dim,
            "E": self.features_dim,
        }

    @property
    def row_bytes(self) -> int:
        """Bytes of one row of experience that ends an episode: no row has more."""
        return sum(array.nbytes for array in zeros(self, rows=1, ends=1).values())


def _number(dim: Dim, sizes: Mapping[str, int]) -> int:
    return dim if isinstance(dim, int) else sizes[dim]


class Per(enum.Enum):
    """What a column has one entry for."""

    FRAME = "frame"
    """Each of a row's k frames; zeros past those that were executed."""
    PLAN = "planned frame"
    """Each of a row's k frames, whether it was executed or not."""
    ROW = "row"
    END = "episode end"


_LEADING: dict[Per, tuple[Dim, ...]] = {
    Per.FRAME: ("D", "k"),
    Per.PLAN: ("D", "k"),
    Per.ROW: ("D",),
    Per.END: ("F",),
}


class Range(NamedTuple):
    """The integers that are allowed; k is the only letter."""

    least: int
    most: Dim

    def __str__(self) -> str:
        return f"{self.least} .. {self.most}" if isinstance(self.most, str) else f"at least {self.least}"


class Column(NamedTuple):
    """One array of a batch of experience."""

    name: str
    dtype: str
    """A key of `protocol.arrays.DTYPES`."""
    per: Per
    item: tuple[Dim, ...]
    """Shape of one entry."""
    check: Literal["finite", "0 or 1", "any", "the rows with terminated or truncated"] | Range
    meaning: str
    optional: bool = False
    """Sent and kept only if the spec names it in `optional_columns`. Never per episode end."""

    @property
    def letters(self) -> tuple[Dim, ...]:
        """The whole shape."""
        return (*_LEADING[self.per], *self.item)

    def shape(self, sizes: Mapping[str, int]) -> tuple[int, ...]:
        """The whole shape in numbers."""
        return tuple(_number(size, sizes) for size in self.letters)


_COUNT32, _COUNT64 = Range(0, 2**31 - 1), Range(0, 2**63 - 1)

COLUMNS = (
    Column("observation", "f4", Per.FRAME, ("O",), "finite", "before the frame's action"),
    Column("action", "f4", Per.FRAME, ("A",), "finite", "executed, in [-1, 1]"),
    Column("base_plan", "f4", Per.PLAN, ("A",), "finite", "the base's actions for the whole decision"),
    Column("residual", "f4", Per.PLAN, ("A",), "finite", "mask * a_res, unscaled"),
    Column("reward", "f4", Per.FRAME, (), "finite", "of the frame"),
    Column("success", "b1", Per.FRAME, (), "0 or 1", "whether the task is solved after the frame"),
    Column("frames", "i4", Per.ROW, (), Range(1, "k"), "executed frames"),
    Column("terminated", "b1", Per.ROW, (), "0 or 1", "the episode ended for good in this decision"),
    Column("truncated", "b1", Per.ROW, (), "0 or 1", "the episode was cut short in this decision"),
    Column("sub_env", "i4", Per.ROW, (), _COUNT32, "which sub-environment of this actor"),
    Column("episode", "i8", Per.ROW, (), _COUNT64, "counts up in each sub-environment"),
    Column("decision", "i4", Per.ROW, (), _COUNT32, "counts up from 0 in each episode"),
    Column("weights_version", "i8", Per.ROW, (), "any", "of the residual that decided"),
    Column("base_version", "i8", Per.ROW, (), _COUNT64, "of the base that planned; 0: the first", True),
    Column("log_prob", "f4", Per.ROW, (), "finite", "of the drawn residual, when it was drawn", True),
    Column(
        "intervention", "b1", Per.FRAME, (), "0 or 1", "whether somebody acted instead of the policy",
        optional=True,
    ),
    Column(
        "final_row", "i4", Per.END, (), "the rows with terminated or truncated", "rows that end an episode"
    ),
    Column("final_observation", "f4", Per.END, ("O",), "finite", "the episode's true last observation"),
    Column(
        "final_base_plan", "f4", Per.END, ("k", "A"), "finite", "the base's plan there; zeros if terminated"
    ),
    Column(
        "true_success", "b1", Per.FRAME, (), "0 or 1",
        "whether the simulator calls the task solved, where a classifier says success", optional=True,
    ),
)  # fmt: skip
"""Those of every spec, and the optional ones."""

FEATURE_COLUMNS = (
    Column("features", "f2", Per.ROW, ("E",), "finite", "the base's own embedding at the decision"),
    Column("final_features", "f2", Per.END, ("E",), "finite", "the same at the end; zeros if terminated"),
)
"""Those of a spec with `features_dim`. The actor has rounded them: all who keep them have the same bits."""


class Contents(Protocol):
    """Which columns there are: of a run's experience, or of a dataset."""

    @property
    def cameras(self) -> Mapping[str, Sequence[int]]:
        """Height and width of each."""
        ...

    @property
    def optional_columns(self) -> Sequence[str]: ...

    @property
    def features_dim(self) -> int:
        """Width of the base's features; 0: there are none."""
        ...


def _camera_columns(name: str, size: Sequence[Dim]) -> tuple[Column, Column]:
    """Those of one name in the cameras of a spec."""
    kind = modality_of(name)
    item, meaning = kind.shape(size), f"{kind.unit}; like "
    return (
        Column(IMAGE_PREFIX + name, kind.dtype, Per.FRAME, item, "any", meaning + "observation"),
        Column(FINAL_IMAGE_PREFIX + name, kind.dtype, Per.END, item, "any", meaning + "final_observation"),
    )


def columns_of(spec: Contents) -> tuple[Column, ...]:
    """The columns of experience with this spec. Raises ValueError: an optional column that does not exist."""
    known = {column.name for column in COLUMNS if column.optional}
    if unknown := set(spec.optional_columns) - known:
        raise ValueError(f"no optional columns: {sorted(unknown)}; there are {sorted(known) or 'none'}")
    columns = [each for each in COLUMNS if not each.optional or each.name in spec.optional_columns]
    columns += FEATURE_COLUMNS if spec.features_dim else ()
    for camera, size in spec.cameras.items():
        columns += _camera_columns(camera, size)
    return tuple(columns)


def names_per(*kinds: Per, optional: bool = False) -> tuple[str, ...]:
    """Names of the columns of every spec, or of the optional ones, that have an entry for each of `kinds`."""
    return tuple(each.name for each in COLUMNS if each.per in kinds and each.optional == optional)


def zeros(spec: ExperienceSpec, rows: int, ends: int) -> Columns:
    """Columns of `rows` rows and `ends` episode ends with nothing in them."""
    sizes = {**spec.sizes, "D": rows, "F": ends}
    return {each.name: np.zeros(each.shape(sizes), DTYPES[each.dtype]) for each in columns_of(spec)}


class ExperienceCheck:
    """Whether columns are experience with `spec`: names, dtypes, shapes and values as `COLUMNS` says."""

    def __init__(self, spec: ExperienceSpec) -> None:
        self._columns, self._sizes = columns_of(spec), spec.sizes
        self._finite = [each.name for each in self._columns if each.check == "finite"]
        self._ranges = [
            (each.name, each.check.least, _number(each.check.most, self._sizes))
            for each in self._columns
            if isinstance(each.check, Range)
        ]
        # Batches of the same size come again and again.
        self._layout = functools.lru_cache(maxsize=64)(self._expected_layout)

    def __call__(self, columns: Columns) -> None:
        """Return if they are. Raises ProtocolError: names the column, the place in it and the value."""
        self._check_layout(columns)
        self._check_finite(columns)
        for name, least, most in self._ranges:
            _check_range(name, columns[name], least, most)
        _check_ends(columns)

    def _check_layout(self, columns: Columns) -> None:
        rows, ends = (_length(columns, name) for name in ("frames", "final_row"))
        layout = self._layout(rows, ends)
        if rows and {name: (array.dtype, array.shape) for name, array in columns.items()} == layout:
            return
        if columns.keys() != layout.keys():
            missing, foreign = sorted(layout.keys() - columns.keys()), sorted(columns.keys() - layout.keys())
            raise ProtocolError(f"columns missing: {missing or 'none'}, unknown: {foreign or 'none'}")
        if rows == 0:
            raise ProtocolError(f"frames has shape {columns['frames'].shape}: a batch has one row or more")
        for name, (dtype, shape) in layout.items():
            array = columns[name]
            if array.dtype != dtype or array.shape != shape:
                raise ProtocolError(f"{name} is {array.dtype} {array.shape}, expected {dtype} {shape}")

    def _expected_layout(self, rows: int, ends: int) -> dict[str, tuple[np.dtype[Any], tuple[int, ...]]]:
        sizes = {**self._sizes, "D": rows, "F": ends}
        return {each.name: (DTYPES[each.dtype], each.shape(sizes)) for each in self._columns}

    def _check_finite(self, columns: Columns) -> None:
        # The sum of squares shows NaN, infinity and large values, and costs less than a look at each.
        bound = LARGEST_VALUE**2
        suspects = [name for name in self._finite if not np.vdot(each := _wide(columns[name]), each) < bound]
        for name in suspects:
            usable = np.abs(columns[name]) < LARGEST_VALUE
            if not usable.all():
                place = tuple(np.argwhere(~usable)[0].tolist())
                raise ProtocolError(
                    f"{name}{list(place)} is {columns[name][place]:g}, not a number below {LARGEST_VALUE:g}"
                )


def _wide(array: NDArray[Any]) -> NDArray[Any]:
    """Half precision has no room for the squares of its own numbers."""
    return array.astype(np.float32) if array.dtype == np.float16 else array


def _length(columns: Columns, name: str) -> int:
    return len(columns[name]) if name in columns and columns[name].ndim > 0 else 0


_UNSIGNED = {4: np.dtype("u4"), 8: np.dtype("u8")}


def _check_range(name: str, array: NDArray[Any], least: int, most: int) -> None:
    # As unsigned numbers, values below `least` are above all others: one comparison instead of two.
    above = array - least if least else array
    if above.view(_UNSIGNED[array.itemsize]).max() > most - least:
        wrong = np.flatnonzero((array < least) | (array > most))
        raise ProtocolError(f"{name}[{wrong[0]}] is {array[wrong[0]]}, allowed are {least} .. {most}")


def _check_ends(columns: Columns) -> None:
    [ends] = (columns["terminated"] | columns["truncated"]).nonzero()
    if columns["final_row"].tolist() != ends.tolist():
        raise ProtocolError(
            f"final_row is {columns['final_row'][:8].tolist()}, "
            f"but rows {ends[:8].tolist()} are terminated or truncated"
        )


def describe_columns() -> str:
    """A table in Markdown of all columns there are."""
    lines = ["| column | dtype | shape | values | meaning |", "| --- | --- | --- | --- | --- |"]
    cameras = [_camera_columns(name, ("H", "W")) for name in ("<camera>", f"<camera>{DEPTH}")]
    for each in (*COLUMNS, *FEATURE_COLUMNS, *itertools.chain(*cameras)):
        name = f"`{each.name}`" + (" (optional)" if each.optional else "")
        shape = ", ".join(map(str, each.letters)) + ("," if len(each.letters) == 1 else "")
        check = str(each.check)
        lines.append(f"| {name} | {each.dtype} | ({shape}) | {check} | {each.meaning} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.stdout.write(describe_columns())
