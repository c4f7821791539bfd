"""What a run has for others, as the folder of a repository of the Hub, and the push."""

import json
import logging
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from config.process import UsageError
from launch.share import cards
from launch.share.hub import hub, hub_errors, token
from launch.share.lerobot_policy import export_policy
from launch.share.run_source import Shared
from learner.checkpoints.shared import write_base, write_residual

log = logging.getLogger("push")

What = Literal["policy", "replay", "base", "report"]


@dataclass(frozen=True)
class Kind:
    """How one of these is pushed."""

    repo_type: str
    write: Callable[[Shared, Path], None]
    card: Callable[[Shared, str, str], str]


def assemble(shared: Shared, what: What, repo: str, licence: str, folder: Path) -> None:
    """Write the repository's content, with its card, to the new folder `folder`.
    Raises UsageError: the run does not have it."""
    kind = KINDS[what]
    kind.write(shared, folder)
    (folder / "README.md").write_text(kind.card(shared, repo, licence))


def dry_run(shared: Shared, what: What, repo: str, licence: str) -> Path:
    """Write the folder that would go into the run's folder, and return it."""
    folder = shared.run_dir / "push" / what
    shutil.rmtree(folder, ignore_errors=True)
    folder.parent.mkdir(exist_ok=True)
    assemble(shared, what, repo, licence, folder)
    return folder


def push(shared: Shared, what: What, repo: str, licence: str, *, private: bool) -> str:
    """Push it to the repository `repo`, which is made if need be; returns its address.
    Raises UsageError: no token, the run does not have it, or the Hub refuses it."""
    if token() is None:
        raise UsageError("HF_TOKEN is not set: put it into the environment or a .env file, or say --dry-run")
    kind = KINDS[what]
    with tempfile.TemporaryDirectory() as beside, hub_errors(f"{what} cannot be pushed to {repo}"):
        folder = Path(beside) / what
        assemble(shared, what, repo, licence, folder)
        _check_card(folder / "README.md", kind.repo_type)
        api = hub()
        sdk = "static" if kind.repo_type == "space" else None
        made = api.create_repo(
            repo, repo_type=kind.repo_type, private=private or None, exist_ok=True, space_sdk=sdk
        )
        message = f"Push the {what} of a residual-rl run"
        api.upload_folder(repo_id=repo, repo_type=kind.repo_type, folder_path=folder, commit_message=message)
        if what == "replay":
            _tag_version(api, repo)
    return str(made)


def _check_card(card: Path, repo_type: str) -> None:
    """Ask the Hub whether the card's metadata fits its schema. Raises UsageError: it does not."""
    from huggingface_hub import RepoCard

    try:
        RepoCard(card.read_text()).validate(repo_type=repo_type)
    except ValueError as error:
        raise UsageError(f"the Hub refuses the card: {' '.join(str(error).split())}") from error


def _tag_version(api: Any, repo: str) -> None:
    """As LeRobot's own push does: its reader asks for the tag of its format."""
    from lerobot.datasets.dataset_metadata import CODEBASE_VERSION

    if CODEBASE_VERSION in [each.name for each in api.list_repo_refs(repo, repo_type="dataset").tags]:
        api.delete_tag(repo, tag=CODEBASE_VERSION, repo_type="dataset")
    api.create_tag(repo, tag=CODEBASE_VERSION, repo_type="dataset")


def _write_policy(shared: Shared, folder: Path) -> None:
    """What LeRobot loads, and the residual as residual-rl reads it."""
    export_policy(shared, folder)
    write_residual(folder, shared.config, shared.residual.content)


def _write_base(shared: Shared, folder: Path) -> None:
    write_base(folder, shared.with_trained_base())


def _write_replay(shared: Shared, folder: Path) -> None:
    from learner.replay.tools.merge import Selection, export

    export(shared.run_dir / "replay", folder, Selection())


def _write_report(shared: Shared, folder: Path) -> None:
    report = shared.run_dir / "report.html"
    if not report.is_file():
        raise UsageError(f"{report} is missing: residual-rl report {shared.run_dir.name} writes it")
    folder.mkdir()
    shutil.copy(report, folder / "index.html")
    summary = shared.run_dir / "summary.json"
    if summary.is_file():
        figures = {
            name: value
            for name, value in json.loads(summary.read_text()).items()
            if not isinstance(value, str)
        }
        (folder / "summary.json").write_text(json.dumps(figures, indent=2) + "\n")


KINDS: dict[What, Kind] = {
    "policy": Kind("model", _write_policy, cards.policy_card),
    "base": Kind("model", _write_base, cards.base_card),
    "replay": Kind("dataset", _write_replay, cards.replay_card),
    "report": Kind("space", _write_report, cards.report_card),
}
