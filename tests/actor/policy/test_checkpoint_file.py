"""Files of tensors."""

import json
import os
import pickle
import shutil
from argparse import Namespace
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from actor.policy.checkpoint_file import Unread, read_checkpoint, write_checkpoint, write_safetensors
from actor.policy.contract import CheckpointError
from tests.support.spoiled import LFS_POINTER, PAGE, cut_short


def test_what_is_written_is_read(tmp_path: Path) -> None:
    path = tmp_path / "new folder" / "weights.pt"
    write_checkpoint(path, {"weight": torch.arange(3.0), "version": 7})
    content = read_checkpoint(path)
    assert torch.equal(content["weight"], torch.arange(3.0)) and content["version"] == 7
    assert [file.name for file in path.parent.iterdir()] == ["weights.pt"]


def test_no_code_runs_when_a_file_is_read(tmp_path: Path) -> None:
    class Malicious:
        def __reduce__(self):
            return Path.touch, (tmp_path / "ran",)

    (tmp_path / "weights.pt").write_bytes(pickle.dumps(Malicious(), protocol=2))
    with pytest.raises(CheckpointError, match="not a readable checkpoint"):
        read_checkpoint(tmp_path / "weights.pt")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, "is missing"),
        (b"junk", "not a readable checkpoint"),
        (b"", "is empty"),
        (LFS_POINTER, "a pointer of git-LFS.*git lfs pull"),
        (PAGE, "a web page"),
    ],
)
def test_a_file_that_is_no_checkpoint_is_one_line_with_its_path(
    content: bytes | None, says: str, tmp_path: Path
) -> None:
    path = tmp_path / "weights.pt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(CheckpointError, match=rf"weights\.pt.* {says}") as refused:
        read_checkpoint(path)
    assert "\n" not in str(refused.value)


def test_a_folder_in_its_place_and_a_file_that_was_cut_are_one_line(tmp_path: Path) -> None:
    path = tmp_path / "weights.pt"
    write_checkpoint(path, {"weight": torch.rand(3000)})
    cut_short(path)
    with pytest.raises(CheckpointError, match=r"weights\.pt is not a readable checkpoint .*copy it again"):
        read_checkpoint(path)
    with pytest.raises(CheckpointError, match="cannot be read: Is a directory"):
        read_checkpoint(tmp_path)


def test_safetensors_under_another_name_are_called_that(tmp_path: Path) -> None:
    save_file({"weight": torch.rand(3)}, tmp_path / "best.pt")
    with pytest.raises(CheckpointError, match=r"best\.pt is a safetensors file.*torch\.save\(.*load_file"):
        read_checkpoint(tmp_path / "best.pt")
    write_checkpoint(tmp_path / "best.safetensors", {"weight": torch.rand(3)})
    with pytest.raises(CheckpointError, match=r"best\.safetensors is a file of torch\.save.*name it \.pt"):
        read_checkpoint(tmp_path / "best.safetensors")


def test_a_description_that_is_nested_too_deeply_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "best.safetensors"
    save_file({"actor.weight": torch.rand(3)}, path)
    path.with_suffix(".json").write_text("[" * 200_000)
    with pytest.raises(CheckpointError, match=r"best\.safetensors or best\.json cannot be read") as refused:
        read_checkpoint(path)
    assert "\n" not in str(refused.value)


def test_a_link_that_leads_nowhere_is_called_that(tmp_path: Path) -> None:
    (tmp_path / "checkpoints").symlink_to("elsewhere")
    with pytest.raises(CheckpointError, match=r"/checkpoints is a link to elsewhere, which is not there"):
        read_checkpoint(tmp_path / "checkpoints/best.pt")


class Trace:
    """Saved, it names a function that would remove or leave a file."""

    def __init__(self, call: Callable[[Path], object], place: Path) -> None:
        self._reduced = call, (place,)

    def __reduce__(self):
        return self._reduced


@dataclass
class Settings:
    seed: int = 1


@pytest.mark.parametrize(
    "foreign",
    [
        np.float64(0.25), np.int64(3), np.arange(3.0), Namespace(seed=1), Path("somewhere"),
        Settings(), Fraction(1, 3), defaultdict(list), torch.nn.Linear(2, 2),
    ],
    ids=lambda value: type(value).__name__,
)  # fmt: skip
def test_tensors_are_read_beside_objects_of_any_kind_which_are_not(foreign: object, tmp_path: Path) -> None:
    path = tmp_path / "weights.pt"
    torch.save({"weight": torch.arange(3.0), "about": foreign, "again": [foreign]}, path)
    content = read_checkpoint(path)
    assert torch.equal(content["weight"], torch.arange(3.0))
    assert isinstance(content["about"], Unread) and isinstance(content["again"][0], Unread)


def test_an_object_that_is_not_read_does_nothing(tmp_path: Path) -> None:
    path, kept = tmp_path / "weights.pt", tmp_path / "kept"
    kept.mkdir()
    torch.save({"weight": torch.arange(3.0), "about": Trace(shutil.rmtree, kept)}, path)
    assert isinstance(read_checkpoint(path)["about"], Unread)
    for call in (os.rmdir, Path.rmdir):  # of a module that torch blocks, and found with getattr
        torch.save({"weight": torch.arange(3.0), "about": Trace(call, kept)}, path)
        with pytest.raises(CheckpointError, match="not a readable checkpoint"):
            read_checkpoint(path)
    assert kept.exists()
    assert not any("rmtree" in str(name) for name in torch.serialization.get_safe_globals())


def test_what_torch_saved_before_it_wrote_archives_is_read(tmp_path: Path) -> None:
    path = tmp_path / "weights.pt"
    torch.save({"weight": torch.arange(3.0)}, path, _use_new_zipfile_serialization=False)
    assert torch.equal(read_checkpoint(path)["weight"], torch.arange(3.0))
    torch.save({"about": np.float64(1)}, path, _use_new_zipfile_serialization=False)
    with pytest.raises(CheckpointError, match="numpy") as refused:
        read_checkpoint(path)
    assert "\n" not in str(refused.value) and "\x1b" not in str(refused.value)


def test_a_full_disk_leaves_the_file_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "weights.pt"
    write_checkpoint(path, {"version": 1})
    (tmp_path / "weights.pt.new").symlink_to("/dev/full")
    with pytest.raises(CheckpointError, match=r"weights\.pt cannot be written"):
        write_checkpoint(path, {"version": 2})
    assert read_checkpoint(path) == {"version": 1}


def residual(version: int) -> dict[str, Any]:
    shared = torch.full((2, 3), float(version))
    networks = {"critic": {"0.weight": shared}, "target_critic": {"0.weight": shared.T}, "nothing": {}}
    return {
        "version": version,
        "algo": {"hidden": [3], "head": None},
        "log_temperature": shared[0, 0],
        **networks,
    }


def test_a_residual_is_safetensors_and_json_that_other_tools_read(tmp_path: Path) -> None:
    path = tmp_path / "checkpoints" / "best.safetensors"
    write_safetensors(path, residual(7))
    torch.testing.assert_close(read_checkpoint(path), residual(7), rtol=0, atol=0)
    assert json.loads(path.with_suffix(".json").read_text())["version"] == 7
    assert {*load_file(path)} == {"critic.0.weight", "target_critic.0.weight", "log_temperature"}


def test_weights_are_read_with_what_is_said_of_them_after_a_kill_between_the_files(
    tmp_path: Path,
) -> None:
    path = tmp_path / "best.safetensors"
    write_safetensors(path, residual(1))
    old = path.with_suffix(".json").read_bytes()
    write_safetensors(path, residual(2))
    path.with_suffix(".json").write_bytes(old)
    torch.testing.assert_close(read_checkpoint(path), residual(2), rtol=0, atol=0)


def test_a_full_disk_leaves_a_residual_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "best.safetensors"
    write_safetensors(path, residual(1))
    (tmp_path / "best.safetensors.new").symlink_to("/dev/full")
    with pytest.raises(CheckpointError, match=r"best\.safetensors cannot be written.*make room"):
        write_safetensors(path, residual(2))
    torch.testing.assert_close(read_checkpoint(path), residual(1), rtol=0, atol=0)
