"""The trackers that a configuration asks for, and what each is told."""

import os
import shlex
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

from dotenv import find_dotenv, load_dotenv

from config.process import UsageError
from config.tracking import TrackerName, WandbConfig, trackers_in_use
from learner.tracking.mirror import Mirror, Tracker

_INSTALL = "bash launch/setup_env.sh trackers"


class Tracked(NamedTuple):
    """A run, or the training of a base, that trackers show."""

    folder: Path
    """What is kept lies here, and metrics.jsonl too."""
    tracking: tuple[TrackerName, ...]
    wandb: WandbConfig
    config: Mapping[str, Any]
    """The whole configuration, which trackers show."""
    axis: str = "frames"
    resume: bool = False
    """Whether it goes on in the trackers' runs, instead of anew."""
    job_type: str | None = None
    finish_s: float | None = None
    """How long each may take to finish."""
    has_launcher: bool = False
    """Whether a launcher says, at the run's end, how what W&B keeps is sent."""


class TrackerError(UsageError):
    """A tracker that is asked for and not installed."""


def require_trackers(tracking: tuple[TrackerName, ...], wandb: WandbConfig) -> None:
    """Raise TrackerError for the first that is not installed."""
    for name in trackers_in_use(tracking, wandb):
        if find_spec(name) is None:
            others = [other for other in tracking if other != name]
            raise TrackerError(
                f"tracking asks for {name}, which is not installed: {_INSTALL}, "
                f"or tracking=[{','.join(others)}]"
            )


def load_environment() -> None:
    """Take over what a .env file says: keys, and names that are not configured."""
    load_dotenv(find_dotenv(usecwd=True))


def start_mirrors(tracked: Tracked) -> list[Mirror]:
    """One for each tracker, of folder/metrics.jsonl from its end on."""
    load_environment()
    makers = {"wandb": wandb_tracker, "tensorboard": _tensorboard, "trackio": _trackio}
    trackers = [makers[name](tracked) for name in trackers_in_use(tracked.tracking, tracked.wandb)]
    return [Mirror(tracked.folder / "metrics.jsonl", tracker, tracked.axis) for tracker in trackers]


def wandb_tracker(tracked: Tracked) -> Tracker:
    """Keys, server, and what is not configured come from the environment."""
    wandb, folder = tracked.wandb, tracked.folder
    arguments = {
        "dir": str(folder),
        "project": wandb.project_name(),
        "name": folder.name,
        "id": _wandb_id(folder, tracked.resume),
        "resume": "allow" if tracked.resume else None,
        "config": dict(tracked.config),
        "entity": wandb.entity,
        "group": wandb.group_name(),
        "tags": list(wandb.tags) or None,
        "notes": wandb.notes,
        "job_type": tracked.job_type,
    }
    modes = ("online", "offline") if wandb.mode == "online" else ("offline",)
    attempts = tuple(arguments | {"mode": mode} for mode in modes)
    return Tracker("wandb", "W&B", attempts, how_to_send, tracked.finish_s, not tracked.has_launcher)


def _wandb_id(folder: Path, resume: bool) -> str:
    """W&B's id of this run, kept in its folder so that a resumed run goes on in the same one."""
    path = folder / "wandb_id"
    if resume and path.is_file():
        return path.read_text().strip()
    name = os.urandom(4).hex()
    path.write_text(name + "\n")
    return name


def offline_runs(folder: Path) -> list[str]:
    """Where W&B keeps what was not sent. A run that was resumed, or has films, has several of these."""
    offline = sorted(folder.glob("wandb/offline-run-*/"))
    return [str(each) for each in offline if not any(each.glob("*.wandb.synced"))]


def sync_words(places: Sequence[str]) -> list[str]:
    """The command that sends what W&B keeps in these places of one run."""
    return ["wandb", "sync", *(["--append"] if len(places) > 1 else []), *places]


def how_to_send(place: str) -> str:
    """What to do with what W&B keeps in a place."""
    folders = offline_runs(Path(place).parents[1])
    return f"to send it: {shlex.join(sync_words(folders if place in folders else [place]))}"


def _tensorboard(tracked: Tracked) -> Tracker:
    logdir = str(tracked.folder / "tensorboard")
    return Tracker(
        "tensorboard", "TensorBoard", ({"logdir": logdir},),
        lambda place: f"to see it: tensorboard --logdir {shlex.quote(place)}", tracked.finish_s,
    )  # fmt: skip


def _trackio(tracked: Tracked) -> Tracker:
    arguments = {
        "project": tracked.wandb.project_name(),
        "name": tracked.folder.name,
        "group": tracked.wandb.group_name(),
        "config": dict(tracked.config),
        "resume": "allow" if tracked.resume else "never",
        "embed": False,
    }
    return Tracker(
        "trackio", "trackio", (arguments,),
        lambda place: f"to see it: trackio show --project {shlex.quote(place)}", tracked.finish_s,
    )  # fmt: skip
