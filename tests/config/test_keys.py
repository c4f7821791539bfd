"""Laws of config.keys: every key has a default and a meaning, and they are those that a run uses."""

from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
import yaml

from config.compose import compose_config
from config.keys import Configuration, KeyFile, configuration_of
from config.train_base import compose_training

SECTIONS = ["run", "train_base", "demos", "study"]


def files_of(configuration: Configuration) -> list[KeyFile]:
    return [*configuration.files, *(file for group in configuration.groups for file in group.files)]


def dotted(content: dict[str, Any], prefix: str = "") -> Iterator[str]:
    for name, value in content.items():
        yield f"{prefix}{name}"
        if isinstance(value, dict):
            yield from dotted(value, f"{prefix}{name}.")


@pytest.mark.parametrize("section", SECTIONS)
def test_every_key_says_what_it_means(section: str) -> None:
    assert [
        (f.path, key.name) for f in files_of(configuration_of(section)) for key in f.keys if not key.meaning
    ] == []
    assert all(file.about for file in files_of(configuration_of(section)))


def test_the_keys_are_those_of_a_run() -> None:
    known = {key.name for key in configuration_of("run").keys}
    composed = set(dotted(msgspec.to_builtins(compose_config(["name=a"]))))
    assert composed <= known | {"task", "base", "algo", "learner", "actor", "wire", "page"}


def test_the_keys_are_those_of_a_training() -> None:
    known = {key.name for key in configuration_of("train_base").keys}
    assert set(dotted(msgspec.to_builtins(compose_training([])))) <= known


@pytest.mark.parametrize("section", SECTIONS)
def test_defaults_are_those_of_the_files(section: str) -> None:
    read = [key for file in files_of(configuration_of(section)) for key in file.keys if key.default]
    assert read and all(yaml.safe_load(f"a: {key.default}").keys() == {"a"} for key in read)
    defaults = {key.name: key.default for key in configuration_of(section).keys}
    expected = {
        "run": ("learner.log_every_s", "5.0"),
        "train_base": ("lr", "1.0e-4"),
        "demos": ("episodes", "100"),
        "study": ("seeds", "[0, 1, 2]"),
    }
    key, default = expected[section]
    assert defaults[key] == default


def test_a_meaning_goes_on_below_and_is_shared_within_a_group() -> None:
    meanings = {key.name: key.meaning for key in configuration_of("run").keys}
    assert meanings["learner.replay_max_gb"].startswith("limit of the dataset") and (
        meanings["learner.replay_max_gb"].endswith("null: no limit")
    )
    [published] = [f for f in files_of(configuration_of("run")) if f.path == "algo/policy_decorator.yaml"]
    own = {key.name: key.meaning for key in published.keys}
    assert own["algo.gamma"] == meanings["algo.gamma"]
    assert own["algo.relations"] != meanings["algo.relations"]
