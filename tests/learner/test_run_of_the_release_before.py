"""A run's folder that the release before has left: resumed, or refused in one line that says what to do.

tests/data/run_of_the_release_before is such a folder, of the base `zero` and small networks: config.yaml with
keys that are gone, and checkpoints/training.pt with states that are gone.
"""

import re
import shutil
from pathlib import Path

import pytest

from actor.policy.contract import CheckpointError
from config.compose import compose_config, read_config
from config.main import Config
from config.process import StopRequest, one_line
from config.section import ConfigError
from learner.replay.dataset.writer import LeRobotWriter
from learner.run import run_learner

OLD = Path("tests/data/run_of_the_release_before")


@pytest.fixture
def config(tmp_path: Path, free_ports: tuple[int, int]) -> Config:
    """That of the old run, as far as its keys exist."""
    shutil.copytree(OLD, tmp_path / "old")
    words = (
        f"runs_dir={tmp_path}", "name=old", "base=zero", "base.path=none", "algo.hidden=[4]",
        "algo.critics=2", "algo.relations=[]", "algo.prior_fraction=0", "learner.demos=null",
        "learner.wandb.mode=disabled", "learner.replay_capacity=100", "learner.journal.segment_bytes=65536",
        f"wire.experience_port={free_ports[0]}", f"wire.weights_port={free_ports[1]}",
    )  # fmt: skip
    return compose_config(words)


def stopped() -> StopRequest:
    stop = StopRequest()
    stop.set()
    return stop


def test_its_folder_is_resumed_or_refused_in_one_line_and_then_left_as_it_was(config: Config) -> None:
    try:
        run_learner(config, stopped())
    except CheckpointError as error:
        line = one_line(error)
        assert "\n" not in line and re.search(r"training\.pt .*choose another name=<run>", line)
        assert (config.run_dir / "config.yaml").read_text() == (OLD / "config.yaml").read_text()
    else:
        assert read_config(config.run_dir / "config.yaml") == config


def test_a_run_that_is_refused_keeps_the_files_of_its_replay(
    config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    merged: list[LeRobotWriter] = []
    monkeypatch.setattr(LeRobotWriter, "compact", merged.append)
    (config.run_dir / "checkpoints" / "training.pt").write_bytes(b"junk")
    with pytest.raises(CheckpointError):
        run_learner(config, StopRequest())
    assert merged == []


def test_without_its_checkpoint_it_is_resumed_with_new_networks(config: Config) -> None:
    (config.run_dir / "checkpoints" / "training.pt").unlink()
    run_learner(config, stopped())
    assert read_config(config.run_dir / "config.yaml") == config


def test_its_configuration_names_the_first_key_that_is_gone() -> None:
    with pytest.raises(ConfigError, match=r"algo\.\S+ was removed: ") as refused:
        read_config(OLD / "config.yaml")
    assert "\n" not in str(refused.value)
