"""Files that are there without their content."""

from pathlib import Path

_POINTER = b"version https://git-lfs"


def why_no_content(path: Path) -> str | None:
    """What a file is instead of its content, in words; None: something else is wrong with it, or nothing."""
    with path.open("rb") as file:
        begins = file.read(len(_POINTER))
    if not begins:
        return "empty: it has 0 bytes"
    return "a git-LFS pointer instead of the file: fetch it with git lfs pull" if begins == _POINTER else None
