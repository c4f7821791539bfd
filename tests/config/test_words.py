"""Laws of key=value words: text is text, and whatever cannot be read says how to write it."""

import shlex
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from config.compose import compose_config, read_config, write_config
from config.demos import compose_demos
from config.improve import ImproveConfig
from config.main import Config
from config.section import ConfigError
from config.shared import describe_run, read_run
from config.train_base import compose_training
from config.words import Text, quoted, read_text, read_words, split_by_section, texts_of
from tests.support.helpers import make_config

LOOKS_LIKE_SOMETHING = [
    "1_000", "1e3", "true", "True", "42", "0x1F", "0o17", "017", "1:30", "2026-01-31", "inf", "nan", "-1",
    ".5", "yes", "No", "on", "None", "''", "a", "it's", "say \"a\"", "a, b", "a=b", "[a", "{a: b}",
    "choice(a,b)", "glob(*)", "f(x)", "#a", "a # b", "& *a", "!!int 3", "%x", "@x", " a ", "\ta", "a\nb",
    "\\", "a\\", "a\\\\'", "ü ß = é", "::1", "*", "|", ">", "- a", "? a", "a: b", "$a", "$",
    "\x7f\x85\u2028\ufeff", "😀", "null ", "null",
]  # fmt: skip
# "${" refers to another key, and "???" is how OmegaConf writes a missing value.
texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")).filter(
    lambda text: "${" not in text and text != "???"
)


def launched(config: Config, folder: Path) -> Config:
    """As the children of a run get it."""
    write_config(folder / "launch.yaml", config)
    return read_config(folder / "launch.yaml")


def test_children_and_remote_actors_get_the_text_that_was_given(tmp_path: Path) -> None:
    given = ",".join(map(quoted, LOOKS_LIKE_SOMETHING))
    config = compose_config([f"learner.demos=[{given}]", "base.path=1e3"])
    assert config.learner.demos == tuple(LOOKS_LIKE_SOMETHING)
    assert launched(config, tmp_path) == config
    described = msgspec.msgpack.decode(msgspec.msgpack.encode(describe_run(config, "abc")))
    assert read_run(described).base == config.base


@settings(max_examples=8, deadline=None)
@given(several=st.lists(texts.filter(bool), min_size=1, max_size=20))
def test_the_file_of_a_launch_keeps_every_text(several: list[str], tmp_path_factory) -> None:
    config = make_config()
    learner = msgspec.structs.replace(config.learner, demos=tuple(several))
    config = msgspec.structs.replace(config, learner=learner)
    assert launched(config, tmp_path_factory.mktemp("run")) == config


@given(texts)
def test_text_that_was_quoted_is_read_back_as_one_item_of_a_list_or_alone(text: str) -> None:
    key = "learner.demos"
    [alone] = read_words([f"{key}={quoted(text)}"], Config)
    [among] = read_words([f"{key}=[a, {quoted(text)} ,b]"], Config)
    assert (alone.value(), among.value()) == (text, ["a", text, "b"])


@given(texts.filter(lambda text: "\\" not in text and text[:1] not in ("'", '"', "[")))
def test_text_needs_no_quotes(text: str) -> None:
    [read] = read_words([f"runs_dir={text}"], Config)
    assert read.value() == text


@pytest.mark.parametrize("name", ["1_000", "true", "null"])
def test_a_name_may_look_like_a_number(name: str, tmp_path: Path) -> None:
    for word in (f"name='{name}'", f'name="{name}"', f"++name={name}"):
        assert [read.value() for read in read_words([word], Config)] == [name]
    config = compose_config([f"name={name}"])
    assert launched(config, tmp_path).name == config.name == name


def test_null_is_null_where_the_type_allows_it() -> None:
    config = compose_config(
        ["learner.demos=null", "actor.id=null", "actor.spool='null'", "wire.keys_dir=null"]
    )
    assert (config.learner.demos, config.actor.id, config.wire.keys_dir) == (None, None, None)
    assert config.actor.spool == "null"
    assert compose_demos(["task=null"]).task == "null"


def test_a_path_needs_quotes_of_the_shell_alone() -> None:
    path = "my path/ü=b, c.h5"
    assert compose_training([f"demos={path}", f"out={path}"]).sources == (path,)
    assert compose_training([f"demos=[{path}]"]).sources == ("my path/ü=b", "c.h5")
    assert compose_training([f"demos=['{path}', 1e3]"]).sources == (path, "1e3")
    assert compose_config([f"base.path={path}"]).learner.demos == f"{path}/demos.h5"


def test_what_hydra_reads_as_text_is_read_as_before() -> None:
    several = Text(many=True, null=True)
    for value, read in {
        "a\\,b": "a,b", "'a\\'b'": "a'b", "${base.path}/x": "${base.path}/x", "[]": [], "[ ]": [],
        "[a b, 'c,d' ,\"e\"]": ["a b", "c,d", "e"], "[${f:a,b},c]": ["${f:a,b}", "c"],
        "[a,,b]": ["a", "", "b"],
    }.items():  # fmt: skip
        assert read_text(value, several) == read


@pytest.mark.parametrize(
    ("word", "better"),
    [
        ("base.overrides={text: a=b}", 'base.overrides={text: "a=b"}'),
        ("algo.relations=[{point: 3=4}]", 'algo.relations=[{point: "3=4"}]'),
        ("base.cameras={observation.images.top: Kamera für oben}",
         'base.cameras={observation.images.top: "Kamera für oben"}'),
    ],
)  # fmt: skip
def test_what_needs_quotes_is_shown_with_them_ready_for_the_shell(word: str, better: str) -> None:
    with pytest.raises(ConfigError) as refused:
        compose_config([word])
    said = str(refused.value)
    assert said == f"configuration: {word} cannot be read: give it as {shlex.quote(better)}"
    assert shlex.split(said.partition("give it as ")[2]) == [better]
    assert read_words([better], Config)


@pytest.mark.parametrize(
    ("word", "says"),
    [
        ("path/ü a=3", "'path/ü a' is no name of a key"),
        ("seed=1,2", "give one value, or a list in brackets"),
        ("seed=" + "1" * 5000, "cannot be read"),
        ("learner.demos=\udcff", "is not UTF-8"),
        ("learner.demos=${x", "learner.demos"),
    ],
)
def test_a_word_that_cannot_be_read_is_named_in_one_line(word: str, says: str) -> None:
    with pytest.raises(ConfigError) as refused:
        compose_config([word])
    assert says in str(refused.value) and "\n" not in str(refused.value)


def test_a_run_that_exists_takes_single_keys_as_text_too(tmp_path: Path) -> None:
    place = tmp_path / "launch.yaml"
    write_config(place, compose_config(["learner.stop_at=null", "learner.wandb.project=${name}", "name=a"]))
    words = ["name=1e3", "learner.demos=[x y=z, 7]", "+actor.num_envs=3", "learner.evaluation.episodes=5"]
    config = read_config(place, words)
    assert (config.name, config.learner.demos, config.actor.num_envs) == ("1e3", ("x y=z", "7"), 3)
    assert config.learner.evaluation.episodes == 5 and config.learner.wandb.project == "a"


@pytest.mark.parametrize(
    ("word", "says"),
    [
        ("task=stack_cube", "a run keeps its task: give single keys"),
        ("~learner.demos", "a run keeps its learner.demos"),
        ("learner.nosuch=1", "`nosuch`"),
        ("nosuch.key=1", "`nosuch`"),
        ("algo.utd=inf", "algo.utd must be a finite number, got inf"),
        ("seed=a=b", "give it as 'seed=\"a=b\"'"),
    ],
)
def test_of_a_run_that_exists_no_file_can_be_chosen(word: str, says: str, tmp_path: Path) -> None:
    write_config(tmp_path / "launch.yaml", make_config())
    with pytest.raises(ConfigError) as refused:
        read_config(tmp_path / "launch.yaml", [word])
    assert says in str(refused.value) and "\n" not in str(refused.value)


def test_every_text_of_a_section_is_known() -> None:
    known = texts_of(Config)
    assert known["learner.demos"] == Text(many=True, null=True) and known["task.cameras"].many
    assert {"name", "runs_dir", "base.path", "wire.host", "actor.id", "algo.reward"} < known.keys()
    assert known.keys().isdisjoint({"seed", "task", "base.cameras", "algo.target_clip", "algo.hidden"})


def test_words_of_a_section_are_told_from_those_of_a_run_by_their_key() -> None:
    words = ["name=a", "+seed=1", "algo.utd=2", "task=stack_cube", "~demos", "named=1"]
    assert split_by_section(words, ImproveConfig) == (
        ["name=a", "+seed=1", "~demos"], ["algo.utd=2", "task=stack_cube", "named=1"],
    )  # fmt: skip
