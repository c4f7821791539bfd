"""A classifier's folder: classifier.json says what it is, beside its weights."""

import hashlib
import json
from functools import cache
from pathlib import Path
from typing import Annotated, Literal

import msgspec

from actor.policy.checkpoint_file import read_checkpoint, reason, write_checkpoint
from actor.policy.classifier.contract import SuccessClassifier
from actor.policy.classifier.states import StateClassifier
from actor.policy.contract import CheckpointError
from actor.policy.dimensions import dimensions_of
from actor.policy.finite import non_finite_value
from config.files import replace_text
from config.relation import Relation
from config.task import TaskConfig

DESCRIPTION, WEIGHTS = "classifier.json", "classifier.pt"
_MOST_MEMBERS = 1000
# What makes two classifiers different: of states, and the folders of one of pictures.
_COMPARED = ("classifier.*", "pictures/*", "encoder/*")


class Description(msgspec.Struct, frozen=True, kw_only=True):
    """classifier.json"""

    kind: Literal["states", "pictures"]
    env_id: str
    observation_dim: int
    threshold: float
    relations: tuple[Relation, ...] = ()
    hidden: tuple[int, ...] = ()
    members: Annotated[int, msgspec.Meta(ge=0, le=_MOST_MEMBERS)] = 0
    cameras: tuple[str, ...] = ()
    """Of pictures: in the order of the classifier's features."""
    camera_size: tuple[int, int] = (0, 0)
    """Width and height."""


def who_says_success(task: TaskConfig) -> str:
    """For learner and actors to compare: the simulator, or a classifier's digest with task.success_frames.
    Raises CheckpointError: there is no such classifier."""
    if task.classifier is None:
        return "simulator"
    _read_description(task.classifier)
    found = (file for pattern in _COMPARED for file in sorted(task.classifier.glob(pattern)))
    files = [(file, file.stat()) for file in found if file.is_file()]
    digest = _digest(tuple((file, stat.st_size, stat.st_mtime_ns) for file, stat in files))
    return f"classifier {digest} for {task.success_frames} frames"


@cache
def _digest(files: tuple[tuple[Path, int, int], ...]) -> str:
    """Of the content of files, each with its size and time of change. Cached: an encoder may be large."""
    digest = hashlib.sha256()
    for file, *_ in files:
        digest.update(file.read_bytes())
    return digest.hexdigest()[:16]


def save_states(folder: Path, classifier: StateClassifier, description: Description) -> None:
    """Replace both files; the description last, since it makes the folder a classifier."""
    folder.mkdir(parents=True, exist_ok=True)
    write_checkpoint(folder / WEIGHTS, classifier.state_dict())
    write_description(folder, description)


def write_description(folder: Path, description: Description) -> None:
    replace_text(folder / DESCRIPTION, json.dumps(msgspec.to_builtins(description), indent=1) + "\n")


def load_classifier(folder: Path, task: TaskConfig, device: str) -> SuccessClassifier:
    """The classifier in `folder`, checked against the task.
    Raises CheckpointError: it is not there, cannot be read, or is for another observation."""
    described = _read_description(folder)
    _require_task(folder, described, task)
    if described.kind == "pictures":
        from actor.policy.lerobot.classifier import load_pictures  # LeRobot takes seconds

        return load_pictures(folder, described.cameras, described.threshold, device)
    weights = read_checkpoint(folder / WEIGHTS)
    try:
        classifier = StateClassifier(
            described.observation_dim, described.relations, described.hidden, described.members
        )
        classifier.load_state_dict(weights, strict=True)
    except (RuntimeError, TypeError, AttributeError) as error:
        raise CheckpointError(
            f"{folder / WEIGHTS} does not fit {DESCRIPTION}: {reason(error)}: train it again"
        ) from error
    if (found := non_finite_value(weights)) is not None:
        raise CheckpointError(f"{folder / WEIGHTS}: {found}: train it again")
    classifier.threshold = described.threshold
    return classifier.to(device).eval()


def _read_description(folder: Path) -> Description:
    place = folder / DESCRIPTION
    try:
        return msgspec.json.decode(place.read_bytes(), type=Description)
    except FileNotFoundError:
        raise CheckpointError(
            f"task.success: no classifier at {folder}, which has no {DESCRIPTION}: residual-rl train-reward "
            "makes one"
        ) from None
    except (OSError, msgspec.DecodeError) as error:
        raise CheckpointError(f"task.success: {place} cannot be read: {error}") from error


def _require_task(folder: Path, described: Description, task: TaskConfig) -> None:
    """Raise CheckpointError, naming both sides, unless the task has what the classifier looks at."""
    wanted = dimensions_of(task).observation_dim
    both = ""
    if described.env_id != task.env_id:
        both = f"of {described.env_id}, the task is {task.env_id}"
    elif described.kind == "states" and described.observation_dim != wanted:
        both = f"for {described.observation_dim} observation dimensions, the task has {wanted}"
    elif missing := [camera for camera in described.cameras if camera not in task.cameras]:
        both = f"for the cameras {list(described.cameras)}, task.cameras lacks {', '.join(missing)}"
    elif described.cameras and described.camera_size != task.camera_size:
        both = f"for task.camera_size={list(described.camera_size)}, the task has {list(task.camera_size)}"
    if both:
        raise CheckpointError(f"task.success: the classifier {folder} is {both}: choose another one")
