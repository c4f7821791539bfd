"""Whatever a file of demonstrations holds, its reader returns episodes to train on, or raises its one error.

A few seconds of it by default, and much more with python -m pytest -m slow.
"""

import json
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from learner.replay.dataset.store import LeRobotStore
from learner.replay.prior.demonstration import require_usable
from learner.replay.prior.error import DemonstrationError
from learner.replay.prior.read import Wanted, read_demonstrations
from tests.support.demonstrations import write_h5
from tests.support.identifiable import ACT, OBS, make_stream, pack

QUICK, LONG = 40, 1000
WANTED = [
    Wanted(),
    Wanted(last_frame_succeeds=True, other_tasks=True),
    Wanted(env_id="PickCube-v1", control_mode="pd_ee_delta_pose", fps=20, limit=2),
    Wanted(observation=["action", "observation.state"]),
]
# Numpy's warnings would reach people's terminals.
pytestmark = [pytest.mark.filterwarnings("error::RuntimeWarning"), pytest.mark.timeout(1800)]


def fuzz(examples: int) -> Callable[[Any], Any]:
    return settings(
        max_examples=examples, deadline=None, derandomize=examples == QUICK,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
    )  # fmt: skip


def assert_read_or_refused(source: Path, wanted: Wanted) -> None:
    try:
        episodes = read_demonstrations(source, wanted).episodes
    except DemonstrationError as error:
        assert str(error)
    else:
        require_usable(episodes, "what was read")
        assert all(episode.success.dtype == bool for episode in episodes)


def spoil(path: Path, kind: str, where: int, byte: int) -> None:
    """Cut a file short, or change one byte of it."""
    content = bytearray(path.read_bytes()) or bytearray(1)
    where %= len(content)
    content[where] = byte
    path.write_bytes(content[:where] if kind == "cut" else content)


DTYPES = st.one_of(
    npst.boolean_dtypes(), npst.integer_dtypes(), npst.unsigned_integer_dtypes(), npst.floating_dtypes(),
    npst.complex_number_dtypes(), npst.byte_string_dtypes(min_len=1, max_len=4),
)  # fmt: skip
ARRAYS = DTYPES.flatmap(
    lambda dtype: npst.arrays(dtype, npst.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=7))
)
STRANGE = st.sampled_from(
    [
        "words", ["a", "b"], h5py.Empty("f4"), h5py.SoftLink("/nowhere"), h5py.ExternalLink("no.h5", "/"),
        h5py.SoftLink("/"), np.dtype("f4"), np.zeros(3, [("a", "f4"), ("b", "i4")]), np.float32(1),
    ]
)  # fmt: skip
PLACES = ["obs", "actions", "success", "rewards", "executed", "obs/agent/qpos", "obs/extra", "obs/state"]


@st.composite
def damages_of_file(draw: Any) -> Callable[[Path], None]:
    kind = draw(st.sampled_from(["put", "put", "put", "remove", "rename", "group", "values", "cut", "flip"]))
    episode, place = f"traj_{draw(st.integers(0, 2))}", draw(st.sampled_from(PLACES))
    value = draw(st.one_of(ARRAYS, STRANGE))
    where, byte = draw(st.integers(0, 40000)), draw(st.integers(0, 255))
    name = draw(st.sampled_from(["traj_9", "traj_x", "demo_0", "data/demo_0", "obs", "traj_00"]))

    def damage(path: Path) -> None:
        if kind in ("cut", "flip"):
            spoil(path, kind, where, byte)
            return
        with h5py.File(path, "r+", track_order=True) as file:
            group = file[episode]
            if kind == "rename":
                file.move(episode, name)
            elif kind == "values" and place in group and isinstance(group[place], h5py.Dataset):
                if group[place].size:
                    group[place][0] = np.nan if group[place].dtype.kind == "f" else byte % 2
            else:
                if place.startswith("obs/") and isinstance(group["obs"], h5py.Dataset):
                    del group["obs"]
                    group.create_group("obs", track_order=bool(byte % 2))
                if place in group:
                    del group[place]
                if kind == "put":
                    group[place] = value
                elif kind == "group":
                    group.create_group(place, track_order=bool(byte % 2))

    return damage


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
KEYS = ["env_info", "episodes", "env_id", "env_kwargs", "control_mode"]


@given(damages=st.lists(damages_of_file(), min_size=1, max_size=3), content=st.none() | JSON
       | st.dictionaries(st.sampled_from(KEYS), JSON | st.dictionaries(st.sampled_from(KEYS), JSON)),
       wanted=st.sampled_from(WANTED))  # fmt: skip
def read_damaged_file(
    whole: Path, damages: list[Callable[[Path], None]], content: Any, wanted: Wanted
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(shutil.copy(whole, Path(folder) / "demos.h5"))
        for damage in damages:
            # What is damaged already may not take another damage.
            try:
                damage(path)
            except (OSError, KeyError, ValueError, TypeError, RuntimeError):
                break
        if content is not None:
            path.with_suffix(".json").write_text(json.dumps(content))
        assert_read_or_refused(path, wanted)


@pytest.fixture(scope="module")
def whole_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_h5(tmp_path_factory.mktemp("whole") / "demos.h5")


@pytest.mark.parametrize("examples", [QUICK, pytest.param(LONG, marks=pytest.mark.slow)])
def test_a_damaged_trajectory_file_is_read_or_refused(examples: int, whole_file: Path) -> None:
    fuzz(examples)(read_damaged_file)(whole_file)


INFO, ORIGIN = "meta/info.json", "meta/residual_rl.json"
DATA, SIDECAR = "data/chunk-000/file-000.parquet", "sidecar/chunk-000/file-000.parquet"
COLUMNS = {
    DATA: ["observation.state", "action", "next.success", "next.reward", "base_action", "episode_index"],
    SIDECAR: ["final_known", "final_observation"],
}
type Cells = Callable[[int], pa.Array]


def rows_of(value: Any, kind: pa.DataType | None = None) -> Cells:
    return lambda rows: pa.array([value] * rows, kind)


CELLS: list[Cells] = [
    rows_of(None, pa.float32()), rows_of("left"), rows_of(b"\0"), rows_of(True), rows_of(3),
    rows_of(float("nan")), rows_of(1e300), rows_of(2**63 - 1), rows_of([]), rows_of([1.0, None]),
    rows_of([None]),
    rows_of([[1.0, 2.0]]), rows_of([["a"]]), rows_of({"a": 1}), rows_of([1.0] * OBS), rows_of([1e39] * OBS),
    rows_of([float("inf")] * ACT), rows_of(0, pa.timestamp("s")), rows_of("1.5", pa.string()),
    lambda rows: pa.array([[0.0] * (row % 3) for row in range(rows)], pa.list_(pa.float32())),
    lambda rows: pa.array([[1.0] * 3 if row % 2 else None for row in range(rows)], pa.list_(pa.float32(), 3)),
    lambda rows: pa.array([row % 2 for row in range(rows)]).dictionary_encode(),
    lambda rows: pa.array([row // 2 for row in range(rows)], pa.uint8()),
    lambda rows: pa.nulls(rows),
]  # fmt: skip


@st.composite
def damages_of_dataset(draw: Any) -> Callable[[Path], None]:
    name = draw(st.sampled_from([INFO, INFO, ORIGIN, DATA, DATA, DATA, SIDECAR]))
    kind = draw(st.sampled_from(["inside", "inside", "inside", "cut", "flip", "remove", "replace"]))
    where, byte = draw(st.integers(0, 40000)), draw(st.integers(0, 255))
    value, key = (
        draw(JSON),
        draw(st.sampled_from(["features", "fps", "total_episodes", "codebase_version", "task"])),
    )
    column, cells = draw(st.sampled_from(COLUMNS.get(name, [""]))), draw(st.sampled_from(CELLS))
    how = draw(st.sampled_from(["cells", "cells", "cells", "drop", "rename", "rows", "no rows"]))

    def change(table: pa.Table) -> pa.Table:
        at = table.column_names.index(column)
        match how:
            case "cells":
                return table.set_column(at, column, cells(len(table)))
            case "drop":
                return table.drop_columns([column])
            case "rename":
                return table.rename_columns(["other" if n == column else n for n in table.column_names])
            case "rows":
                return table.filter(pa.array([row % 7 != byte % 7 for row in range(len(table))], pa.bool_()))
            case _:
                return table.slice(0, 0)

    def damage(folder: Path) -> None:
        path = folder / name
        if kind == "inside" and path.suffix == ".json":
            content = json.loads(path.read_text())
            path.write_text(json.dumps(content | {key: value} if byte % 4 else value))
        elif kind == "inside":
            pq.write_table(change(pq.read_table(path)), path)
        elif kind == "remove":
            path.unlink()
        elif kind == "replace":
            path.write_bytes(bytes([byte]) * (where % 50))
        else:
            spoil(path, kind, where, byte)

    return damage


@given(damages=st.lists(damages_of_dataset(), min_size=1, max_size=3), wanted=st.sampled_from(WANTED))
def read_damaged_dataset(whole: Path, damages: list[Callable[[Path], None]], wanted: Wanted) -> None:
    with tempfile.TemporaryDirectory() as place:
        folder = Path(shutil.copytree(whole, Path(place) / "set"))
        for damage in damages:
            try:
                damage(folder)
            except (OSError, KeyError, ValueError, TypeError, pa.ArrowException):
                break
        assert_read_or_refused(folder, wanted)


@pytest.fixture(scope="module")
def whole_dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run's replay: it has all that a dataset can have."""
    folder = tmp_path_factory.mktemp("whole") / "replay"
    _, rows = make_stream("peg", 0, [6, 1, 9], sub_envs=1)
    with LeRobotStore(
        folder, repo_id="tests/replay", robot_type="panda", task="PickCube-v1", queue_episodes=16,
        flush_s=60.0, observation_dim=OBS, action_dim=ACT, fps=20,
    ) as store:  # fmt: skip
        store.add("peg", 0, pack(rows))
    return folder


@pytest.mark.parametrize("examples", [QUICK, pytest.param(LONG, marks=pytest.mark.slow)])
def test_a_damaged_dataset_is_read_or_refused(examples: int, whole_dataset: Path) -> None:
    fuzz(examples)(read_damaged_dataset)(whole_dataset)
