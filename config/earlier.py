"""Configurations of earlier releases: keys that they lack are added, keys that were removed are refused."""

import copy
from collections.abc import Mapping, Sequence
from typing import Any, cast

from config.section import ConfigError
from config.words import key_of

# Keys that files of earlier releases lack, with what those releases did.
_ADDED: dict[str, Any] = {
    "trust_remote_code": False,
    "task": {"proprioception": {}},
    "learner": {"keep_features": True, "wandb": {"replay": False}},
}
# The same of a residual's settings.
_ADDED_TO_RESIDUAL: dict[str, Any] = {
    "sees": ["state"],
    "critics_see": ["state"],
    "proprioception": [],
    "pictures": {"cameras": [], "size": [64, 64], "frames": 1, "channels": [1], "width": 1, "shift": 0},
}
_ADDED_TO_PICTURES: dict[str, Any] = {"depth_range": [0.0, 4.0]}

# The same of rejection sampling's: actors added no noise.
_ADDED_TO_REJECTION: dict[str, Any] = {
    "residual_scale": 1.0,
    "residual_dims": None,
    "noise_std": 0.0,
    "noise_probability": 1.0,
    "noise_decisions": 1,
}

# Keys and values that were removed, and what to do instead.
REMOVED = {
    "actor_layer_norm": "the actor has no layer norm",
    "actor_update": "the actor always follows the critics' gradient",
    "advantage_sharpness": "the actor always follows the critics' gradient",
    "confidence_from": "set algo.noise_std and algo.actor_pessimism, which are constant",
    "confidence_least": "set algo.noise_std and algo.actor_pessimism, which are constant",
    "critic_input=linear": "use algo.critic_input=concat",
    "critic_input=res": "use algo.critic_input=concat",
    "gate_episodes": "the share is set anew every 40 episodes of the residual",
    "log_std_min": "it is -20, as published",
    "noise_hold": "use algo.noise_decisions",
    "pessimism_about": "algo.actor_pessimism is about the critics' values",
    "priority_correction": "transitions are drawn uniformly",
    "priority_exponent": "transitions are drawn uniformly",
    "relation_step": "it is 2 mm",
    "residual_shape=held": "use algo.residual_shape=constant",
    "reward=dense_minus_one": "use algo.reward=sparse or sparse_minus_one",
    "reward=normalized_dense": "use algo.reward=sparse or sparse_minus_one",
    "reward_scale": "rewards are not scaled",
    "scale_from": "set algo.residual_scale, which is constant",
    "scale_horizon": "set algo.residual_scale, which is constant",
    "scale_observations=running": "use algo.scale_observations=prior",
    "target_critics": "the target is the minimum of two critics",
    "target_entropy": "it is minus the dimension of the residual, as published",
    "tau": "it is 0.01, as published",
}


def refuse_removed_overrides(overrides: Sequence[str]) -> None:
    """As `refuse_removed`, for words of a command line."""
    pairs = ((key_of(word), word.partition("=")[2]) for word in overrides)
    refuse_removed({key.removeprefix("algo."): value for key, value in pairs if key.startswith("algo.")})


def refuse_removed(given: Mapping[str, Any]) -> None:
    """Check keys of algo with their values.
    Raises ConfigError: one of them is of an earlier release; says what to do instead."""
    for key, value in given.items():
        for removed in (key, f"{key}={value}"):
            if removed in REMOVED:
                raise ConfigError(f"configuration: algo.{removed} was removed: {REMOVED[removed]}")


def of_this_release(plain: Mapping[str, Any], algo: Mapping[str, Any]) -> dict[str, Any]:
    """What a file says, `algo` being its section of that name, with the keys that it lacks."""
    filled = _filled(plain, copy.deepcopy(_ADDED)) | {"algo": algo_of_this_release(algo)}
    _move_success_ends(filled.get("task"))
    return filled


def _move_success_ends(task: Any) -> None:
    """It was a key of task.gymnasium, and true for all other simulators."""
    if not isinstance(task, dict):
        return
    section = cast(dict[str, Any], task)
    gymnasium = section.get("gymnasium")
    moved = True
    if isinstance(gymnasium, dict):
        inner = cast(dict[str, Any], gymnasium)
        moved = inner.get("success_ends", True)
        section["gymnasium"] = {key: value for key, value in inner.items() if key != "success_ends"}
    section.setdefault("success_ends", moved)


def algo_of_this_release(given: Mapping[str, Any]) -> dict[str, Any]:
    """The same of an algorithm's settings, and of those of the residual that a collection plays."""
    algo = {"kind": "residual", **given}  # files of earlier releases know no other
    if algo["kind"] == "residual":
        algo = copy.deepcopy(_ADDED_TO_RESIDUAL) | algo
        algo["pictures"] = _filled(algo["pictures"], _ADDED_TO_PICTURES)
    elif algo["kind"] == "rejection_sampling":
        algo = _ADDED_TO_REJECTION | algo
    elif isinstance(played := algo.get("residual"), dict):
        algo["residual"] = algo_of_this_release(cast(dict[str, Any], played))
    return algo


def _filled(given: Any, added: Any) -> Any:
    """`given` with the keys that it lacks."""
    if not (isinstance(given, dict) and isinstance(added, dict)):
        return cast(Any, given)
    section, keys = cast(dict[str, Any], given), cast(dict[str, Any], added)
    return keys | {key: _filled(value, keys.get(key)) for key, value in section.items()}
