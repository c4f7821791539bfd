"""Names of what lies elsewhere, `wandb:entity/project/name:alias` and `hf:owner/name[@revision]`, and copies.

A copy is made once, in a folder that is named by the digest of the content, so that a run's configuration
says which content it was. Files alone come: nothing that was fetched is run.
"""

import logging
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from config.files import locked_in_turn, whole_folder
from config.process import UsageError
from launch.share.hub import hub, hub_errors

log = logging.getLogger("fetch")

# In a list, names end at a comma or bracket.
_NAME = re.compile(r"(?<![\w/.])(?:wandb|hf):[^\s,\[\]'\"]+")
_WANDB = re.compile(r"wandb:([\w.-]+/[\w.-]+/[\w.-]+):([\w.-]+)")
_HUB = re.compile(r"hf:(?:(datasets|models)/)?([\w.-]+/[\w.-]+)(?:@([\w./-]+))?")


def is_elsewhere(text: str) -> bool:
    return text.startswith(("wandb:", "hf:"))


def with_local_copies(text: str) -> str:
    """`text` with the folder of a local copy in place of each name of what lies elsewhere."""
    return _NAME.sub(lambda found: str(local_copy(found[0])), text)


def local_copy(name: str) -> Path:
    """The folder with a copy of what `name` says, fetched unless it is here.
    Raises UsageError: no such name, nothing of that name, or it cannot be fetched; in one line."""
    if match := _WANDB.fullmatch(name):
        return _from_wandb(name, match[1], match[2])
    if match := _HUB.fullmatch(name):
        return _from_hub(name, match[1], match[2], match[3])
    raise UsageError(f"{name} is no name: give wandb:ENTITY/PROJECT/NAME:ALIAS or hf:OWNER/NAME[@REVISION]")


def residual_in(folder: Path, name: str) -> Path:
    """The residual of a copy. Raises UsageError: it has none, so it is of another kind."""
    from learner.checkpoints.shared import RESIDUAL

    if not (folder / RESIDUAL).is_file():
        raise UsageError(
            f"{name} has no {RESIDUAL}: it is of another kind, name a policy that residual-rl pushed"
        )
    return folder / RESIDUAL


def cache() -> Path:
    """Where copies are kept."""
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home) / "residual-rl" / "elsewhere"


def _from_wandb(name: str, artifact: str, alias: str) -> Path:
    from learner.tracking.artifacts import ArtifactError, find

    try:
        found = find(f"{artifact}:{alias}")
        return _kept(cache() / "wandb" / artifact / found.digest, name, found.download)
    except ArtifactError as error:
        raise UsageError(f"{name} cannot be fetched: {error}") from error


def _from_hub(name: str, kind: str | None, repo: str, revision: str | None) -> Path:
    kinds = [kind.removesuffix("s")] if kind else ["model", "dataset"]
    api = hub()
    sha, kind = _commit(name, api, repo, revision, kinds)

    def download(folder: Path) -> None:
        with hub_errors(f"{name} cannot be fetched"):
            api.snapshot_download(repo, revision=sha, repo_type=kind, local_dir=folder)
        shutil.rmtree(folder / ".cache", ignore_errors=True)

    return _kept(cache() / "hf" / repo / sha, name, download)


def _commit(name: str, api: Any, repo: str, revision: str | None, kinds: list[str]) -> tuple[str, str]:
    """The commit that `revision` is, and of which kind the repository is."""
    from huggingface_hub.errors import RepositoryNotFoundError

    for kind in kinds:
        try:
            with hub_errors(f"{name} cannot be fetched", passing=RepositoryNotFoundError):
                return api.repo_info(repo, revision=revision, repo_type=kind).sha, kind
        except RepositoryNotFoundError:
            continue
    raise UsageError(
        f"{name} cannot be fetched: no {' or '.join(kinds)} of that name, or it is private and HF_TOKEN, of "
        "the environment or a .env file, does not open it"
    )


def _kept(place: Path, name: str, download: Callable[[Path], None]) -> Path:
    """The folder `place`, which comes as a whole or not at all.
    Raises UsageError: it cannot be written. `download` turns errors of its own into others."""
    if place.is_dir():
        return place
    log.info("fetching %s", name)
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        with locked_in_turn(place.parent):
            if not place.is_dir():  # another process may have been faster
                with whole_folder(place, UsageError(f"{place} is in use by another process")) as folder:
                    download(folder)
    except OSError as error:
        raise UsageError(
            f"{name} cannot be fetched: {place.parent} cannot be written: {error.strerror}: set "
            "XDG_CACHE_HOME to another folder"
        ) from error
    return place
