"""What differs from the defaults, and the words that start such a run again."""

import shlex
from pathlib import Path

import msgspec
import pytest

from config.compose import compose_config, write_config
from launch.show.settings import changed_settings, hydra_value, read_settings, run_words

WORDS = [
    [],
    ["task=stack_cube", "algo=policy_decorator", "seed=3"],
    ["learner.device=cuda", "learner.stop_at=null", "actor.spool=null", "learner.demos=null"],
    ["base=zero", "base.path='my base'", "algo.hidden=[64,64]", "algo.gamma=0.9", "runs_dir=/some/where"],
    ["+task.relations.X-v1=[{point:1,tip:null,origin:2,turned:false}]", "wire.experience_port=7000"],
]


@pytest.mark.parametrize("words", WORDS)
def test_the_words_make_the_same_configuration(words: list[str]) -> None:
    config = compose_config(["name=one", *words])
    again = run_words(changed_settings(msgspec.to_builtins(config)))
    assert compose_config(["name=one", *shlex.split(" ".join(again))]) == config


def test_what_follows_from_another_setting_is_not_listed() -> None:
    config = compose_config(["name=one", "learner.device=cuda", "task=stack_cube"])
    changed = changed_settings(msgspec.to_builtins(config))
    assert [(each.key, each.value, each.default) for each in changed] == [
        ("task", "stack_cube", "pick_cube"),
        ("learner.device", "cuda", "cpu"),
    ]


def test_the_learners_file_is_read_and_else_that_of_the_start(tmp_path: Path) -> None:
    assert read_settings(tmp_path) == {}
    write_config(tmp_path / "launch.yaml", compose_config(["seed=1"]))
    assert read_settings(tmp_path)["seed"] == 1
    write_config(tmp_path / "config.yaml", compose_config(["seed=2"]))
    assert read_settings(tmp_path)["seed"] == 2
    (tmp_path / "config.yaml").write_text("[torn")
    assert read_settings(tmp_path)["seed"] == 1


def test_keys_of_another_release_are_shown_and_not_among_the_words() -> None:
    settings = msgspec.to_builtins(compose_config(["name=one"])) | {"gone": 3}
    changed = changed_settings(settings)
    assert [(each.key, each.known) for each in changed] == [("gone", False)]
    assert run_words(changed) == []
    assert changed_settings({"seed": 5, "task": "no section"})[0].key == "seed"


@pytest.mark.parametrize(
    ("value", "written"),
    [(None, "null"), (True, "true"), (1e-4, "0.0001"), ("a b", '"a b"'), ([1, {"a": "b"}], "[1,{a:b}]")],
)
def test_values_are_written_as_hydra_reads_them(value: object, written: str) -> None:
    assert hydra_value(value) == written
