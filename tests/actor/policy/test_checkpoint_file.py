"""Files of tensors."""

import pickle
from pathlib import Path

import pytest
import torch

from actor.policy.checkpoint_file import read_checkpoint, write_checkpoint
from actor.policy.contract import CheckpointError


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


@pytest.mark.parametrize(("content", "says"), [(None, "is missing"), (b"junk", "not a readable checkpoint")])
def test_a_file_that_is_no_checkpoint_is_one_line_with_its_path(
    content: bytes | None, says: str, tmp_path: Path
) -> None:
    path = tmp_path / "weights.pt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(CheckpointError, match=rf"weights\.pt.* {says}") as refused:
        read_checkpoint(path)
    assert "\n" not in str(refused.value)


def test_a_full_disk_leaves_the_file_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "weights.pt"
    write_checkpoint(path, {"version": 1})
    (tmp_path / "weights.pt.new").symlink_to("/dev/full")
    with pytest.raises(CheckpointError, match=r"weights\.pt cannot be written"):
        write_checkpoint(path, {"version": 2})
    assert read_checkpoint(path) == {"version": 1}
