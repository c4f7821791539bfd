"""The parts of algo=collect: nothing is learned, the episodes that are wanted become a dataset."""

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from actor.policy.contract import BasePolicy, CheckpointError
from actor.policy.features import sizes_of
from actor.policy.from_run import checkpoint_of, folder_of, read_residual
from actor.policy.gaussian import make_residual
from actor.policy.spec import experience_spec
from config.collect import CollectConfig
from config.main import Config
from config.process import one_line
from learner.algorithms.contract import Training
from learner.algorithms.finite import NonFinite
from learner.algorithms.fixed import FixedPolicy, NoBatches
from learner.replay.dataset.keep import Keep
from learner.replay.memory.contract import NoMemory
from learner.replay.prior.origin import SPEC_FILE
from learner.schedule.collection import Collection, limits_of
from protocol.experience import ExperienceSpec

# In which a run must be like the one whose residual it plays; of the rest the residual's settings speak.
_ALIKE = {"env_id": "task", "control_mode": "task.control_mode", "base_fingerprint": "base.path"}


def make_collection(config: Config, algo: CollectConfig, base: BasePolicy) -> Training:
    """Raises CheckpointError: the residual that is to play cannot be read, or is of another task or base."""
    keep = Keep(limits_of(algo))

    def never(step: NonFinite, drawn: Any) -> str:
        return str(step)

    def results() -> Mapping[str, Any]:
        return _results(config, keep)

    return Training(
        FixedPolicy(_weights(config, base)), NoBatches(), Collection(algo, keep), NoMemory(), never,
        keep=keep, results=results,
    )  # fmt: skip


def _weights(config: Config, base: BasePolicy) -> Mapping[str, Any]:
    """Of the residual that plays on the base; empty: none does."""
    algo, place = config.algo.plays, checkpoint_of(config)
    if algo is None or place is None:
        return {}
    folder = folder_of(config)
    if folder is not None:
        _require_same(folder, experience_spec(config, base))
    weights, sizes = read_residual(config)["actor"], sizes_of(base, algo, config.base.path)
    try:
        residual = make_residual(algo, sizes, base.action_dim)
        residual.load_state_dict(weights)
    except (RuntimeError, TypeError) as error:
        raise CheckpointError(f"{place} does not fit this task and base: {one_line(error)}") from error
    return weights


def _require_same(folder: Path, ours: ExperienceSpec) -> None:
    """Raise CheckpointError if the run in `folder` had another task or base. Its file may be missing."""
    try:
        theirs = msgspec.json.decode((folder / SPEC_FILE).read_bytes(), type=ExperienceSpec)
    except (OSError, msgspec.DecodeError):
        return
    for name, key in _ALIKE.items():
        if getattr(theirs, name) != getattr(ours, name):
            raise CheckpointError(
                f"the residual of {folder} was trained with {name} {getattr(theirs, name)}, this run has "
                f"{getattr(ours, name)}: give the {key} of that run"
            )


def _results(config: Config, keep: Keep) -> dict[str, Any]:
    """What summary.json says of a collection, with the two commands that train on it."""
    replay, name, task = config.run_dir / "replay", config.name, config.task
    train_base = [
        "residual-rl", "train-base", f"task={task.env_id}", f"control_mode={task.control_mode}",
        f"demos={replay}", f"out=bases/{name}",
    ]  # fmt: skip
    lerobot = [
        "lerobot-train", f"--dataset.repo_id={name}", f"--dataset.root={replay}", "--policy.type=act",
        "--policy.push_to_hub=false", f"--output_dir=outputs/{name}",
    ]  # fmt: skip
    return {
        "collected_episodes": keep.played.episodes,
        "collected_successes": keep.played.successes,
        "train_base_command": shlex.join(train_base),
        "lerobot_train_command": shlex.join(lerobot),
    }
