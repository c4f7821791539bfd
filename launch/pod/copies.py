"""Copies of runs: by rsync to another place, or as an archive of what is new."""

import logging
import shutil
import subprocess
import tarfile
from collections.abc import Sequence
from pathlib import Path

import msgspec

from config.files import replace_text, replaced

log = logging.getLogger("save")

# Of silence, not in all: runs may have many GB.
_PATIENCE_S = 60
_SSH = "ssh -o BatchMode=yes -o ConnectTimeout=10"
Files = dict[str, tuple[int, int]]
"""Path below the runs -> size in bytes and time of the last change in ns."""


class _Packed(msgspec.Struct, frozen=True):
    """How many archives there were (some may be elsewhere now), and the files as they are in the newest."""

    archives: int = 0
    files: Files = {}


def copy_runs(folders: Sequence[Path], to: str) -> bool:
    """Bring each folder's copy in `to`, a folder or host:folder, up to date; nothing is deleted there.
    Returns whether all is there."""
    if ":" not in to and not Path(to).is_dir():
        log.warning("the runs are not saved: SAVE_TO=%s is no folder here, and no host:folder", to)
        return False
    if shutil.which("rsync") is None:
        log.warning("the runs are not saved: there is no rsync: bash launch/pod/restart.sh installs it")
        return False
    there = [str(folder) for folder in folders if folder.is_dir()]
    if not there:
        log.info("runs: there are none")
        return True
    words = ["rsync", "--archive", "--partial", f"--timeout={_PATIENCE_S}", f"--rsh={_SSH}", *there, f"{to}/"]
    copied = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if copied.returncode:
        why = (copied.stderr.strip().splitlines() or [f"exit code {copied.returncode}"])[0]
        log.warning("the runs are not all saved in %s: %s", to, why)
        return False
    log.info("copied to %s: %s", to, ", ".join(Path(folder).name for folder in there))
    return True


def pack_runs(runs: Path, place: Path) -> bool:
    """Write the files that are new or changed since the last archive into another one.
    Returns whether all files are in an archive."""
    place.mkdir(parents=True, exist_ok=True)
    record = place / "runs.json"
    try:
        packed = msgspec.json.decode(record.read_bytes(), type=_Packed) if record.is_file() else _Packed()
    except ValueError as error:
        log.warning("%s is damaged (%s): everything is packed again", record, error)
        packed = _Packed()
    files = _files(runs)
    new = [name for name, state in files.items() if packed.files.get(name) != state]
    if not new:
        log.info("runs: nothing is new")
        return True
    size, room = sum(files[name][0] for name in new), shutil.disk_usage(place).free
    if size > room:
        log.warning(
            "the runs are not saved: %d MB are new, %s has room for %d MB: name another place with SAVE_TO",
            size // 10**6, place, room // 10**6,
        )  # fmt: skip
        return False
    there = [int(path.stem[5:]) for path in place.glob("runs-*.tar") if path.stem[5:].isdecimal()]
    number = 1 + max(packed.archives, *there, 0)
    archive = place / f"runs-{number:03d}.tar"
    with replaced(archive) as fresh, tarfile.open(fresh, "w") as tar:
        for name in new:
            tar.add(runs / name, f"runs/{name}")
    replace_text(record, msgspec.json.encode(_Packed(number, files)).decode())
    log.info("packed %d files, %.1f MB: %s", len(new), size / 10**6, archive)
    return True


def _files(runs: Path) -> Files:
    states = {path: path.lstat() for path in sorted(runs.rglob("*")) if path.is_file() or path.is_symlink()}
    return {str(path.relative_to(runs)): (now.st_size, now.st_mtime_ns) for path, now in states.items()}
