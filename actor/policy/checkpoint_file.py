"""Checkpoint files: read without running code from them, and replaced as a whole.

A residual's is `<name>.safetensors` with the tensors, as `<part>.<name>`, and `<name>.json` with the rest.
The former has the rest too: whenever a process was killed, weights are read with what is said of them.
"""

import errno
import json
import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from actor.policy.contract import CheckpointError
from config.files import broken_link, replace_text, replaced

_COLOURS = re.compile(r"\x1b\[[0-9;]*m")
_REST = "residual_rl"  # where the tensors' file has what is no tensor
_LONGEST = 300  # characters of a library's message


class Unread:
    """Stands where a file has an object that is neither a tensor nor plain data, such as a numpy scalar or an
    argparse.Namespace. It takes what the file gives it and keeps nothing; the object's class is not imported.
    """

    def __init__(self, *parts: Any) -> None: ...

    def __setstate__(self, state: Any) -> None: ...


def read_checkpoint(path: Path) -> Any:
    """The content of `path`, on the CPU, with `Unread` in place of foreign objects.
    Raises CheckpointError: the file is missing or not a checkpoint."""
    require_weights(path)
    if path.suffix == ".safetensors":
        if zipfile.is_zipfile(path):
            raise CheckpointError(f"{path} is a file of torch.save, whatever its name: name it .pt")
        return _read_safetensors(path)
    if _is_safetensors(path):
        raise CheckpointError(
            f"{path} is a safetensors file, whatever its name: name a residual's .safetensors, and of a "
            "base's make torch.save({'ema_agent': safetensors.torch.load_file(path)}, 'best.pt')"
        )
    try:
        with torch.serialization.safe_globals(_stand_ins(path)):
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch.load raises a dozen kinds for files that are not checkpoints
        raise CheckpointError(
            f"{path} is not a readable checkpoint ({reason(error)}): copy it again, or save it again with "
            "torch.save({'ema_agent': agent.state_dict()}, path) or the like"
        ) from error


def _read_safetensors(path: Path) -> dict[str, Any]:
    # Imported here: it takes time, and bases in the published layout do without.
    from safetensors import SafetensorError, safe_open

    beside = path.with_suffix(".json")
    try:
        with safe_open(path, framework="pt") as file:
            # Files that others made have no such entry.
            rest = (file.metadata() or {}).get(_REST) or (beside.read_text() if beside.is_file() else "{}")
            content: dict[str, Any] = dict(json.loads(rest))
            for name in file.keys():  # noqa: SIM118  # it is no mapping
                part, dot, name_in_part = name.partition(".")
                state = content.setdefault(part, {}) if dot else content
                state[name_in_part if dot else part] = file.get_tensor(name)
    except (SafetensorError, OSError, ValueError, TypeError, AttributeError, RecursionError) as error:
        named = f"{path} or {beside.name}" if beside.is_file() else str(path)
        raise CheckpointError(f"{named} cannot be read ({reason(error)}): copy it again") from error
    return content


def write_safetensors(path: Path, content: dict[str, Any]) -> None:
    """Replace `path` and the JSON beside it by tensors, state dicts, and plain values, by their names.
    Raises CheckpointError: they cannot be written, as on a full disk."""
    from safetensors.torch import save

    tensors = {name: value for name, value in content.items() if isinstance(value, torch.Tensor)}
    parts = {part: value for part, value in content.items() if _is_state(value)}
    tensors |= {f"{part}.{name}": tensor for part, state in parts.items() for name, tensor in state.items()}
    rest = {name: value for name, value in content.items() if name not in parts | tensors}
    # Two names of one tensor are refused otherwise.
    own = {name: tensor.detach().clone().contiguous() for name, tensor in tensors.items()}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replaced(path) as fresh:
            fresh.write_bytes(save(own, {_REST: json.dumps(rest)}))
        replace_text(path.with_suffix(".json"), json.dumps(rest, indent=2, sort_keys=True) + "\n")
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
        todo = "make room" if full else "let this user write there"
        raise CheckpointError(
            f"{error.filename or path} cannot be written: {error.strerror}: {todo}, then start again"
        ) from error


def _is_state(value: Any) -> bool:
    return (
        isinstance(value, dict)
        and bool(value)
        and all(isinstance(each, torch.Tensor) for each in value.values())
    )


def _is_safetensors(path: Path) -> bool:
    """Whether it begins with the length of a JSON object, and with that object."""
    with path.open("rb") as file:
        length, start = file.read(8), file.read(1)
    return start == b"{" and int.from_bytes(length, "little") < path.stat().st_size


def require_weights(path: Path) -> None:
    """Raise CheckpointError if what should be weights is missing, or is what downloads leave instead."""
    try:
        with path.open("rb") as file:
            start = file.read(64).lstrip()
    except FileNotFoundError:
        raise CheckpointError(broken_link(path) or f"{path} is missing: copy it there") from None
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror}") from error
    if not start:
        raise CheckpointError(f"{path} is not a readable checkpoint: it is empty, copy it again")
    if start.startswith(b"version https://git-lfs"):
        raise CheckpointError(
            f"{path} is a pointer of git-LFS, not the weights: run git lfs pull in its repository, or "
            "download the file itself"
        )
    if start.startswith(b"<"):
        raise CheckpointError(f"{path} is a web page, not the weights: download the file itself")


def reason(error: Exception) -> str:
    """What a library says is wrong, in one line, without its colours and without torch's advice to trust the
    file."""
    text = _COLOURS.sub("", str(error)).rpartition("WeightsUnpickler error:")[2]
    words = " ".join(text.partition("Check the documentation of torch.load")[0].split())
    words = words or type(error).__name__
    return words if len(words) <= _LONGEST else f"{words[:_LONGEST]} ..."


def write_checkpoint(path: Path, content: Any) -> None:
    """Replace `path` by tensors, numbers, strings, and lists and dictionaries of them.
    Raises CheckpointError: it cannot be written, as on a full disk; the file at `path` stays as it is."""
    try:
        with replaced(path) as fresh:
            torch.save(content, fresh)
    # torch.save reports errors of the disk as RuntimeError.
    except (OSError, RuntimeError) as error:
        raise CheckpointError(f"{path} cannot be written: {error}: make room, then start again") from error


def _stand_ins(path: Path) -> list[Callable[..., Any] | tuple[Callable[..., Any], str]]:
    """A class of its own for every name in the file that torch does not read by itself."""
    if not zipfile.is_zipfile(path):
        return []
    names = torch.serialization.get_unsafe_globals_in_checkpoint(path)
    return [(type(name, (Unread,), {}), name) for name in names]
