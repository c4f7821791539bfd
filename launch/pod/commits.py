"""Commits that no remote has: pushed without a question, else packed into a bundle."""

import logging
import os
import subprocess
from pathlib import Path

log = logging.getLogger("save")

_PATIENCE_S = 120.0


class _Git:
    """Git in a project. It asks nobody: there may be no terminal, or nobody in front of it."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._environment = {**os.environ, "GIT_TERMINAL_PROMPT": "0", "GIT_ASKPASS": "true"}
        ssh = os.environ.get("GIT_SSH_COMMAND") or self("config", "core.sshCommand").stdout.strip() or "ssh"
        self._environment["GIT_SSH_COMMAND"] = f"{ssh} -o BatchMode=yes -o ConnectTimeout=10"

    def __call__(self, *argv: str) -> subprocess.CompletedProcess[str]:
        words = ["git", "-C", str(self._root), *argv]
        try:
            return subprocess.run(
                words, env=self._environment, stdin=subprocess.DEVNULL, capture_output=True, text=True,
                timeout=_PATIENCE_S,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            return subprocess.CompletedProcess(words, 1, "", f"no answer within {_PATIENCE_S:.0f} s")

    def lines(self, *argv: str) -> list[str]:
        return self(*argv).stdout.split("\n")[:-1]


def save_commits(root: Path, folder: Path) -> bool:
    """Push each branch that has something new, and bundle in `folder` what could not be pushed.
    Returns whether nothing is left that only this clone has."""
    git = _Git(root)
    if git("rev-parse", "HEAD").returncode:
        log.info("%s has no commits to save", root)
        return True
    remote = _remote(git)
    if remote is not None:
        git("fetch", "--quiet", remote)  # another clone may have pushed; if it fails, so does the push
        for branch in git.lines("for-each-ref", "--format=%(refname:short)", "refs/heads"):
            _push(git, remote, branch)
    bundled, committed = _bundle(git, folder), _nothing_uncommitted(git, root)
    return bundled and committed


def _remote(git: _Git) -> str | None:
    """Origin, or the first of others."""
    remotes = git.lines("remote")
    return "origin" if "origin" in remotes else next(iter(remotes), None)


def _push(git: _Git, remote: str, branch: str) -> None:
    new = git("rev-list", "--count", branch, "--not", "--remotes").stdout.strip()
    if new == "0":
        return
    pushed = git("push", "--quiet", remote, f"refs/heads/{branch}")
    if pushed.returncode:
        log.warning("%s could not be pushed to %s: %s", branch, remote, _why(pushed))
    else:
        log.info("pushed %s to %s: %s commits", branch, remote, new)


def _bundle(git: _Git, folder: Path) -> bool:
    """What no remote has, as one file that git clones and fetches from."""
    wanted = ("HEAD", "--branches", "--not", "--remotes")
    new = git.lines("rev-list", *wanted)
    if not new:
        log.info("commits: all are on the remote")
        return True
    path = folder / f"{new[0][:12]}.bundle"
    folder.mkdir(parents=True, exist_ok=True)
    made = git("bundle", "create", "--quiet", str(path), *wanted)
    if made.returncode:
        log.warning("%d commits could not be bundled in %s: %s", len(new), path, _why(made))
        return False
    log.info("bundled %d commits: git fetch %s '+refs/heads/*:refs/heads/*'", len(new), path)
    return True


def _nothing_uncommitted(git: _Git, root: Path) -> bool:
    changed = git.lines("status", "--porcelain")
    if changed:
        log.warning("not saved: changes in no commit, %d files: git -C %s status", len(changed), root)
    return not changed


def _why(ended: subprocess.CompletedProcess[str]) -> str:
    lines = [line for line in ended.stderr.splitlines() if line and not line.startswith("hint:")]
    return next((line for line in lines if line.startswith(("fatal:", "error:"))), "".join(lines[-1:]))
