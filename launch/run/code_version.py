"""Which code a run was made with."""

import hashlib
import subprocess
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
# What a result depends on: words and pictures may change without.
PARTS = ("actor", "bases", "config", "learner", "protocol")


@dataclass(frozen=True)
class CodeVersion:
    """`commit` is short, with a plus where files differ from it; `digest` names the code itself, whatever
    the commit: equal digests mean equal code. Both "unknown" outside of a git checkout."""

    commit: str
    digest: str

    @classmethod
    def here(cls) -> "CodeVersion":
        """Of this checkout, tracked files alone."""
        commit, trees = _git("rev-parse", "--short", "HEAD"), _git("ls-tree", "HEAD", *PARTS)
        if not commit:
            return cls("unknown", "unknown")
        changes = _git("diff", "HEAD", "--", *PARTS)
        digest = hashlib.sha256((trees + changes).encode()).hexdigest()[:12]
        return cls(commit.strip() + ("+" if changes else ""), digest)


def _git(*argv: str) -> str:
    """What git says, empty where there is no repository, or no git."""
    try:
        return subprocess.run(["git", "-C", str(ROOT), *argv], capture_output=True, text=True).stdout
    except FileNotFoundError:
        return ""
