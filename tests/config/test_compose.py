"""How a process comes to its configuration: from overrides, or from the file that a launch wrote."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import yaml
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra

from config.cluster import LocalConfig, SlurmConfig
from config.compose import CONFIG_DIR, asked_config, compose_config, compose_launch, read_config, write_config
from config.main import Config
from config.section import ConfigError
from config.train_base import compose_training


@pytest.mark.parametrize(
    "overrides", [(), ("algo=policy_decorator", "base=zero"), ("task=peg_insertion_side",)]
)
def test_a_configuration_read_from_its_file_is_the_one_that_was_composed(
    overrides: tuple[str, ...], tmp_path: Path
) -> None:
    config = compose_config(["name=a-run", *overrides])
    write_config(tmp_path / "launch.yaml", config)
    assert read_config(tmp_path / "launch.yaml") == config


def test_an_actor_of_a_launch_gets_its_index(tmp_path: Path) -> None:
    place = tmp_path / "launch.yaml"
    write_config(place, compose_config(["name=a-run"]))
    config = asked_config(["--config", str(place), "--index", "3"])
    assert (config.name, config.actor.index) == ("a-run", 3)
    with pytest.raises(ConfigError, match="--index must be at least 0, got -1"):
        asked_config(["--config", str(place), "--index", "-1"])


@pytest.mark.parametrize(
    ("key", "value", "says"),
    [
        ("learner.threads", "many", r"launch\.yaml: .*\$\.learner\.threads"),
        ("learner.threads", 0, r"launch\.yaml: threads must be at least 1, got 0"),
        ("learner.scale_from", 1, r"launch\.yaml: .*`scale_from`.*\$\.learner"),
    ],
)
def test_a_file_is_checked_again_and_the_key_is_named(
    key: str, value: object, says: str, tmp_path: Path
) -> None:
    place = tmp_path / "launch.yaml"
    write_config(place, compose_config([]))
    plain = yaml.safe_load(place.read_text())
    section, name = key.split(".")
    plain[section][name] = value
    place.write_text(yaml.safe_dump(plain))
    with pytest.raises(ConfigError, match=says) as refused:
        read_config(place)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("content", [None, "a: [", "just words", "\0", "a: 2026-99-99", "[" * 5000])
def test_a_file_that_is_none_is_one_line_with_its_name(content: str | None, tmp_path: Path) -> None:
    place = tmp_path / "launch.yaml"
    if content is not None:
        place.write_text(content)
    with pytest.raises(ConfigError, match=r"launch\.yaml"):
        read_config(place)


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (["--config"], "expected one argument"),
        (["--index", "3"], "not both"),
        (["--config", "a.yaml", "seed=1"], "not both"),
        (["--index", "x"], "invalid int value: 'x'"),
        (["=3"], "Config group override must be a string or a list"),
        (["seed=-1"], r"seed must be in 0 \.\. 2\*\*63 - 1, got -1"),
        (["seed=9223372036854775808"], r"seed must be in 0 \.\. 2\*\*63 - 1"),
        (["--nosuch"], "--nosuch is no option"),
        (["learner.demos=${nosuch.key}"], r"learner\.demos \(config/learner\) refers to .* 'nosuch\.key'"),
        (["seed=${nosuch}"], r"seed \(config/main\) refers to .* 'nosuch'"),
        (["name=../elsewhere"], "name must be letters, digits and . _ - alone, got '../elsewhere'"),
    ],
)
def test_what_cannot_be_understood_is_refused_in_words(argv: list[str], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        asked_config(argv)


def test_a_run_does_not_know_where_it_was_started(tmp_path: Path) -> None:
    """Its files are read by releases and hosts that know nothing of clusters and experiments."""
    words = ["experiment=peg_scale_gpu", "name=a", "seed=3"]
    launch = compose_launch([*words, "cluster.gpus=2"])
    assert isinstance(launch.cluster, SlurmConfig) and launch.cluster.gpus == 2 and launch.sweep
    assert type(launch.run) is Config and launch.run.task.name == "peg_insertion_side"
    write_config(tmp_path / "launch.yaml", launch.run)
    assert read_config(tmp_path / "launch.yaml") == launch.run == compose_config(words)


def test_words_win_over_an_experiment_and_this_machine_takes_any() -> None:
    words = ["experiment=recipes", "cluster=local", "task=stack_cube", "learner.total_frames=5"]
    launch = compose_launch(words)
    assert launch.cluster == LocalConfig()
    assert (launch.task.name, launch.learner.total_frames) == ("stack_cube", 5)
    with pytest.raises(ConfigError, match="Could not find 'experiment/nope'"):
        compose_config(["experiment=nope"])


def test_a_home_folder_is_meant_by_its_sign_wherever_a_text_begins_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    config = compose_config(["runs_dir=~", "base.path='~/bases/a~b'", "actor.spool=null"])
    assert (config.runs_dir, config.base.path) == ("/home/me", "/home/me/bases/a~b")
    assert config.learner.demos == "/home/me/bases/a~b/demos.h5"
    assert compose_config(["learner.demos=[~/a.h5,b/~c]"]).prior_sources == ("/home/me/a.h5", "b/~c")
    write_config(tmp_path / "launch.yaml", config)
    assert read_config(tmp_path / "launch.yaml", ["base.path=~/b"]).base.path == "/home/me/b"
    assert compose_training(["out=~/out", "demos=~/a.h5"]).folder == Path("/home/me/out")


def test_of_nobodys_home_the_sign_stays() -> None:
    assert compose_config(["base.path=~nobody-of-this-name/x"]).base.path == "~nobody-of-this-name/x"


def test_threads_compose_at_the_same_time() -> None:
    with ThreadPoolExecutor(4) as threads:
        seeds = [each.seed for each in threads.map(lambda n: compose_config([f"seed={n}"]), range(8))]

    assert seeds == list(range(8))


def test_a_program_that_uses_hydra_itself_composes_before_and_after() -> None:
    with initialize_config_dir(str(CONFIG_DIR), version_base=None):
        mine = GlobalHydra.instance().hydra

        compose_config([])

        assert GlobalHydra.instance().hydra is mine
        assert compose("main", overrides=["seed=7"]).seed == 7


def test_a_file_of_a_release_before_a_key_was_added_is_read(tmp_path: Path) -> None:
    config = compose_config([])
    write_config(tmp_path / "config.yaml", config)
    plain = yaml.safe_load((tmp_path / "config.yaml").read_text())
    del plain["trust_remote_code"], plain["task"]["proprioception"], plain["learner"]["wandb"]["replay"]
    del plain["algo"]["sees"]
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(plain))

    found = read_config(tmp_path / "config.yaml")

    assert not found.trust_remote_code and not found.learner.wandb.replay
    assert found.task.proprioception == {} and found.learner == config.learner


def test_success_ends_where_a_file_of_a_release_before_said_so(tmp_path: Path) -> None:
    for task, moved in (("fetch_reach", False), ("pick_cube", True)):
        write_config(tmp_path / "config.yaml", compose_config([f"task={task}"]))
        plain = yaml.safe_load((tmp_path / "config.yaml").read_text())
        del plain["task"]["success_ends"]
        if task == "fetch_reach":
            plain["task"]["gymnasium"]["success_ends"] = False
            plain["algo"]["target_clip"] = None
        (tmp_path / "config.yaml").write_text(yaml.safe_dump(plain))

        assert read_config(tmp_path / "config.yaml").task.success_ends is moved
