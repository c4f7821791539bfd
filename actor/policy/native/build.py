"""C++ compiled where it runs, for the processor that runs it."""

import ctypes
import hashlib
import logging
import os
import platform
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # who writes the dataset alone needs no torch, which takes half a gigabyte
    from torch import Tensor

log = logging.getLogger(__name__)

FLAGS = ("-std=c++17", "-O3", "-march=native", "-fno-math-errno", "-fno-trapping-math", "-shared", "-fPIC")


class NativeError(RuntimeError):
    """Native code cannot be compiled or loaded here; the message says why."""


def compiled(source: Path, *headers: Path) -> ctypes.CDLL:
    """The library that `source` becomes; compiled at most once a machine (seconds).
    Raises NativeError: no compiler, or it failed."""
    compiler = shutil.which(os.environ.get("CXX") or "g++") or shutil.which("c++")
    if compiler is None:
        raise NativeError("no C++ compiler (g++ or $CXX) on this machine")
    text = b"".join(path.read_bytes() for path in (source, *headers))
    # -march=native: what one machine compiled may not run on another that shares the home folder.
    key = hashlib.sha256(text + " ".join([*FLAGS, compiler, _processor()]).encode()).hexdigest()[:16]
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "residual-rl"
    path = folder / f"{source.stem}-{key}.so"
    try:
        if not path.exists():
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            _compile(compiler, source, path)
        return ctypes.CDLL(str(path))
    except OSError as error:
        why = error.strerror or error
        raise NativeError(f"{path} cannot be made or loaded: {why}: set XDG_CACHE_HOME=<folder>") from error


def compiled_if_possible(without: str, source: Path, *headers: Path) -> ctypes.CDLL | None:
    """As `compiled`; None, and a warning that begins with `without`, where it cannot be compiled."""
    try:
        return compiled(source, *headers)
    except NativeError as error:
        log.warning("%s, slower than native code: %s", without, error)
        return None


def addresses(tensors: Sequence["Tensor"]) -> ctypes.Array[ctypes.c_void_p]:
    """Where their numbers are. The caller keeps the tensors, and knows that they are contiguous."""
    return (ctypes.c_void_p * len(tensors))(*[tensor.data_ptr() for tensor in tensors])


def _compile(compiler: str, source: Path, path: Path) -> None:
    """Written beside its place and renamed over it: many processes may start at once."""
    with tempfile.TemporaryDirectory(dir=path.parent) as scratch:
        fresh = Path(scratch) / path.name
        done = subprocess.run(
            [compiler, *FLAGS, str(source), "-o", str(fresh)], capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise NativeError(f"{compiler} failed: {done.stderr.strip().splitlines()[:1]}")
        fresh.rename(path)


def _processor() -> str:
    """What -march=native depends on."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line for line in lines if line.startswith("flags")), platform.processor())
