"""CURVE key pairs and the allow-list of clients, as files that their owner alone may read.

    learner.secret, learner.public      the learner's pair; actors need learner.public
    actor-<name>.secret, .public        a client's pair
    allowed/<any name>.public           the clients that the learner admits

A .public file is the key (40 characters, Z85); a .secret file is the lines `public <key>` and `secret <key>`.
"""

import os
import re
import stat
from pathlib import Path

import msgspec
import zmq

_Z85_KEY = re.compile(r"[0-9a-zA-Z.\-:+=^!/*?&<>()\[\]{}@%$#]{40}")

LEARNER = "learner"
ALLOWED = "allowed"
LOCAL_ACTOR = "actor-local"


class KeyFileError(ValueError):
    """A key file that is missing, unsafe or not a key file; the message names it."""


class KeyPair(msgspec.Struct, frozen=True, kw_only=True):
    """Both halves in Z85; never shown in a log."""

    public: str
    secret: str

    def __repr__(self) -> str:
        return f"KeyPair(public={self.public!r})"


def read_pair(path: Path) -> KeyPair:
    """The pair in a .secret file that its owner alone may read.
    Raises KeyFileError: missing, readable by others, or not such a file."""
    lines = dict(line.split(" ", 1) for line in _read(path, 0o077).splitlines() if " " in line)
    public, secret = (_check_key(lines.get(part, ""), path) for part in ("public", "secret"))
    return KeyPair(public=public, secret=secret)


def read_public(path: Path) -> str:
    """The key in a .public file that only its owner may write.
    Raises KeyFileError: missing, writable by others, or not a key."""
    return _check_key(_read(path, 0o022).strip(), path)


def read_allowed(keys_dir: Path) -> dict[str, str]:
    """Public key -> name of every client that may connect.
    Raises KeyFileError: no such folder, a folder or file that others may write, or a file that is not a
    key."""
    folder = keys_dir / ALLOWED
    if not folder.is_dir():
        raise KeyFileError(f"{folder} is missing: make it with bash launch/keys.sh")
    _check_mode(folder, 0o022)
    return {read_public(path): path.stem for path in sorted(folder.glob("*.public"))}


def allowed_stamp(keys_dir: Path) -> object:
    """Changes whenever a file comes into or leaves the allow-list, or is written there."""
    folder = keys_dir / ALLOWED
    if not folder.is_dir():
        return None
    return sorted((path.name, path.stat().st_mtime_ns) for path in folder.glob("*.public"))


def find_client_secret(keys_dir: Path, actor_id: str) -> Path:
    """The .secret file that a client uses: its own name's, else actor-local's, else the only one there.
    Raises KeyFileError: none, or several and none of them by these names."""
    found = {path.stem: path for path in keys_dir.glob("actor-*.secret")}
    for name in (actor_id, LOCAL_ACTOR):
        if name in found:
            return found[name]
    if len(found) != 1:
        what = f"several keys ({', '.join(sorted(found))})" if found else "no actor-*.secret"
        raise KeyFileError(f"{keys_dir} contains {what}: put {actor_id}.secret or {LOCAL_ACTOR}.secret there")
    return next(iter(found.values()))


def write_pair(keys_dir: Path, name: str, pair: KeyPair) -> None:
    """Write name.secret and name.public for their owner alone.
    Raises FileExistsError: never overwrites a key."""
    write_private(keys_dir / f"{name}.secret", secret_text(pair))
    write_private(keys_dir / f"{name}.public", f"{pair.public}\n")


def secret_text(pair: KeyPair) -> str:
    """The content of a .secret file."""
    return f"public {pair.public}\nsecret {pair.secret}\n"


def write_private(path: Path, text: str) -> None:
    """Write a new file that its owner alone may read, from its first moment on."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        file.write(text)


def _read(path: Path, forbidden: int) -> str:
    if not path.is_file():
        raise KeyFileError(f"{path} is missing: make it with bash launch/keys.sh")
    _check_mode(path, forbidden)
    return path.read_text(encoding="ascii", errors="replace")


def _check_mode(path: Path, forbidden: int) -> None:
    status = path.stat()
    mode = stat.S_IMODE(status.st_mode)
    if status.st_uid != os.getuid():
        raise KeyFileError(f"{path} belongs to another user: its owner must be the one who runs this")
    if mode & forbidden:
        verb = "read" if forbidden & 0o044 else "change"
        raise KeyFileError(f"others may {verb} {path} (mode {mode:o}): run chmod go-rwx {path}")


def _check_key(text: str, path: Path) -> str:
    if not _Z85_KEY.fullmatch(text):
        raise KeyFileError(f"{path} contains no CURVE key: make it again with bash launch/keys.sh")
    return text


def new_pair() -> KeyPair:
    public, secret = zmq.curve_keypair()
    return KeyPair(public=public.decode(), secret=secret.decode())
