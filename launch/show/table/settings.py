"""Which settings of a run differ from the defaults of this release, as its row has them."""

from collections.abc import Mapping
from typing import Any

from launch.show.settings import changed_settings, hydra_value

# A run's place, what its row has a column for, and what is no choice.
LEFT_OUT = (
    "runs_dir", "seed", "task", "task.sizes", "algo", "wire.experience_port", "wire.weights_port",
)  # fmt: skip


def differences(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Key -> value. Keys that only one of the two releases knows are left out."""
    changed = (each for each in changed_settings(settings) if each.known and each.key not in LEFT_OUT)
    return {each.key: each.value for each in changed}


def as_words(found: Mapping[str, Any]) -> str:
    """As the command line takes them."""
    return " ".join(f"{key}={hydra_value(value)}" for key, value in found.items())
