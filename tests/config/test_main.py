"""Laws of the configuration: whole, typed, checked, and with no default in Python."""

from pathlib import Path

import msgspec
import pytest
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, OmegaConf, open_dict

from config import main as schema
from config.compose import convert_section
from config.main import Config
from config.section import ConfigError, Section


def composed(repository: Path, *overrides: str) -> DictConfig:
    with initialize_config_dir(str(repository / "config"), version_base=None):
        return compose("main", overrides=list(overrides))


def parse(raw: DictConfig) -> Config:
    return convert_section(raw, Config)


def test_defaults_make_a_configuration(repository: Path) -> None:
    config = parse(composed(repository, "name=a-run"))
    assert isinstance(config, Config)
    assert config.run_dir == Path("runs/a-run")


@pytest.mark.parametrize("group", ["algo", "task", "base"])
def test_every_option_of_a_group_makes_a_configuration(group: str, repository: Path) -> None:
    options = sorted(path.stem for path in (repository / "config" / group).glob("*.yaml"))
    assert options
    for option in options:
        parse(composed(repository, f"{group}={option}"))


def test_run_name_is_fixed_by_an_override_and_fresh_without(repository: Path) -> None:
    assert parse(composed(repository)).name.startswith("pick_cube-2")


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("wire.experience_port=0", "experience_port must be in 1 .. 65535, got 0"),
        ("wire.weights_port=5588", "weights_port must be another port"),
        ("wire.lease_s=1.0", "lease_s must be over twice heartbeat_s"),
        ("wire.experience_port=65536", "experience_port must be in 1 .. 65535, got 65536"),
        ("wire.host='[::1]'", "host must be a name, or an address without tcp://, brackets and port"),
        ("wire.host='tcp://h'", "host must be a name, or an address without tcp://"),
        ("wire.host=h:5588", "host must be a name, or an address without tcp://"),
        ("wire.host='a b'", "host must be a name, or an address without tcp://"),
        ("wire.host=''", "host must be a name, or an address without tcp://"),
        ("learner.total_frames=0", "total_frames must be at least 1, got 0"),
        ("learner.stop_at.success=97.5", "success must be in (0, 1], got 97.5"),
        ("learner.stop_at.evaluations=0", "evaluations must be in 1 .. 10, got 0"),
        ("learner.total_frames=many", "`$.learner.total_frames`"),
        ("learner.wandb.mode=sometimes", "`$.learner.wandb.mode`"),
        ("algo.gamma=1.5", "gamma must be in (0, 1], got 1.5"),
        ("algo.residual_every=3", "algo.residual_every must divide base.act_horizon"),
        ("+learner.speed=3", "`speed`"),
        ("actor.count=0", "count must be at least 1, got 0"),
    ],
)
def test_unsuitable_value_is_refused_by_name(override: str, said: str, repository: Path) -> None:
    with pytest.raises(ConfigError) as refused:
        parse(composed(repository, override))
    assert said in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("key", ["seed", "learner.total_frames", "algo.gamma", "wire.lease_s"])
def test_missing_key_is_refused_by_name(key: str, repository: Path) -> None:
    raw = composed(repository)
    section, _, name = key.rpartition(".")
    with open_dict(raw):
        del (OmegaConf.select(raw, section) if section else raw)[name]
    with pytest.raises(ConfigError, match=f"`{name}`"):
        parse(raw)


def test_no_default_lives_in_python() -> None:
    sections = [c for c in vars(schema).values() if isinstance(c, type) and issubclass(c, Section)]
    assert len(sections) > 5
    for section in sections:
        assert [f.name for f in msgspec.structs.fields(section) if not f.required] == []
