"""Laws of the configuration of a run to be filmed: as the run had it, whatever release it is of."""

from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml

from config.compose import compose_config, write_config
from config.process import UsageError
from config.section import ConfigError
from launch.show.film.settings import config_of_film

CONFIG = compose_config(["task=stack_cube", "seed=4", "algo.residual_scale=0.07", "learner.demos=null"])
OLD = Path("tests/data/run_of_the_release_before")


def write(run_dir: Path, change: dict[str, Any] | None = None, lacks: str = "") -> Path:
    plain = msgspec.to_builtins(CONFIG)
    plain["learner"] |= change or {}
    plain["learner"].pop(lacks, None)
    run_dir.mkdir(exist_ok=True)
    (run_dir / "config.yaml").write_text(yaml.safe_dump(plain))
    return run_dir


def test_a_run_of_this_release_has_its_own_configuration_with_keys_set_anew(tmp_path: Path) -> None:
    write_config(tmp_path / "config.yaml", CONFIG)
    assert config_of_film(tmp_path, []) == CONFIG
    assert config_of_film(tmp_path, ["base.path=elsewhere"]).base.path == "elsewhere"


def test_keys_that_are_gone_are_said_and_keys_that_are_new_have_their_default(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    run_dir = write(tmp_path, change={"gone": {"a": 1}}, lacks="evaluation")
    config = config_of_film(run_dir, ["base.path=elsewhere"])
    assert "of another release; left out: learner.gone" in caplog.text
    assert (config.task, config.algo, config.seed) == (CONFIG.task, CONFIG.algo, 4)
    assert config.learner == CONFIG.learner and config.base.path == "elsewhere"


def test_a_value_that_is_gone_is_named_and_can_be_replaced() -> None:
    with pytest.raises(ConfigError, match=r"release_before: .*'held' - at `\$\.algo\.residual_shape`; name"):
        config_of_film(OLD, [])
    config = config_of_film(OLD, ["algo.residual_shape=constant"])
    plain = yaml.safe_load((OLD / "config.yaml").read_text())
    assert config.algo.hidden == tuple(plain["algo"]["hidden"]) and config.base.path == plain["base"]["path"]


def test_a_broken_configuration_or_none_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no run"):
        config_of_film(tmp_path / "nothing", [])
    for text in ("[1, 2]", "a: [", "", "learner: {total_frames: x}", "task: {name: [1]}"):
        (tmp_path / "config.yaml").write_text(text)
        with pytest.raises(ConfigError, match="configuration") as caught:
            config_of_film(tmp_path, [])
        assert "\n" not in str(caught.value)
