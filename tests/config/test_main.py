"""Laws of the configuration: whole, typed, checked, and with no default in Python."""

from pathlib import Path

import msgspec
import pytest
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, OmegaConf, open_dict

from config import main as schema
from config.compose import compose_config, convert_section
from config.main import Config, Launch
from config.section import ConfigError, Section
from config.train_base import compose_training
from tests.support.helpers import make_config


def composed(repository: Path, *overrides: str) -> DictConfig:
    with initialize_config_dir(str(repository / "config"), version_base=None):
        return compose("main", overrides=list(overrides))


def parse(raw: DictConfig) -> Config:
    return convert_section(raw, Launch)


def test_defaults_make_a_configuration(repository: Path) -> None:
    config = parse(composed(repository, "name=a-run"))
    assert isinstance(config, Config)
    assert config.run_dir == Path("runs/a-run")


@pytest.mark.parametrize("group", ["algo", "task", "base", "cluster", "experiment"])
def test_every_option_of_a_group_makes_a_configuration(group: str, repository: Path) -> None:
    options = sorted(path.stem for path in (repository / "config" / group).glob("*.yaml"))
    assert options
    needed = {"collect": ["algo.episodes=1"]}  # it must know when to end
    for option in options:
        parse(composed(repository, f"{group}={option}", *needed.get(option, [])))


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


@pytest.mark.parametrize(
    ("words", "capacity"),
    [
        ([], 360_000),
        (["learner.total_frames=20"], 20),
        (["learner.total_frames=5000000"], 1_000_000),
        (["learner.replay_capacity=7"], 7),
    ],
)
def test_memory_has_room_for_the_whole_run(words: list[str], capacity: int, repository: Path) -> None:
    assert parse(composed(repository, *words)).learner.replay_capacity == capacity


@pytest.mark.parametrize(
    ("section", "key", "value", "rule"),
    [
        ("algo", "hidden", (), "one width or more"),
        ("algo", "hidden", (128, 0), "each at least 1"),
        ("algo", "residual_dims", (), "different dimensions of 0 or more"),
        ("algo", "residual_dims", (0, 0), "different dimensions of 0 or more"),
        ("algo", "residual_dims", (-1,), "different dimensions of 0 or more"),
        ("algo", "target_clip", (1.0, 0.0), "low below high"),
        ("algo", "target_clip", (float("nan"), 0.0), "low below high"),
        ("algo", "grad_clip", 0.0, "above 0"),
        ("algo", "residual_penalty", -0.1, "at least 0"),
        ("learner", "demos", (), "not empty"),
        ("learner", "demos", "", "not empty"),
        ("learner", "demos", ("a", ""), "not empty"),
        ("learner", "max_updates_behind", -1, "at least 0"),
        ("base", "path", "", "not empty"),
        ("base", "pad_obs_to", 0, "at least 1"),
        ("actor", "id", "", "not empty"),
        ("wire", "host", "", "a name, or an address"),
        ("task", "env_id", "", "not empty"),
    ],
)
def test_a_value_that_no_run_can_use_is_refused_by_its_key(
    section: str, key: str, value: object, rule: str
) -> None:
    with pytest.raises(ValueError, match=rule) as refused:
        msgspec.structs.replace(getattr(make_config(), section), **{key: value})
    assert str(refused.value).startswith(f"{key} must be ")


@pytest.mark.parametrize(
    ("word", "says"),
    [
        ("max_episodes=0", "max_episodes must be at least 1"),
        ("unet_dims=[]", "unet_dims must be one width or more"),
        ("unet_dims=[32,33]", "each a multiple of n_groups=8, got (32, 33)"),
        ("observation=[]", "observation must be given, not empty"),
        ("demos=[]", "demos must be given, not empty"),
        ("lr=nan", "lr must be a finite number, got nan"),
        ("evaluation.episodes=-1", "episodes must be at least 1, got -1"),
    ],
)
def test_a_value_that_no_training_can_use_is_refused_by_its_key(word: str, says: str) -> None:
    with pytest.raises(ConfigError) as refused:
        compose_training([word])
    assert says in str(refused.value) and "\n" not in str(refused.value)


@pytest.mark.parametrize("value", ["inf", "-inf", "nan"])
def test_a_number_that_is_not_finite_is_refused_with_its_whole_name(value: str) -> None:
    for key in ("algo.utd", "learner.evaluation.every_s", "wire.lease_s"):
        with pytest.raises(ConfigError, match=f"{key} must be a finite number, got {value}"):
            compose_config([f"{key}={value}"])


@pytest.mark.parametrize("key", ["seed", "learner.threads", "algo.gamma", "wire.lease_s"])
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
