"""What a remote actor gets from its learner, and what its host gives."""

from typing import Any

import msgspec
import pytest

from config.compose import compose_config
from config.main import Config
from config.process import UsageError
from config.section import ConfigError
from config.shared import describe_run, host_keys, join_run, read_run

LEARNER = (
    "task=stack_cube",
    "algo.residual_scale=0.07",
    "seed=3",
    "name=theirs",
    "learner.record_images=null",
)


def over_the_wire(config: Config) -> dict[str, Any]:
    return msgspec.msgpack.decode(msgspec.msgpack.encode(describe_run(config, "abc")))


@pytest.mark.parametrize(
    "overrides",
    [
        LEARNER,
        ("task=peg_insertion_side_bounded", "algo=policy_decorator", "base=zero"),
        ("base=lerobot", "base.observation={observation.state: [0, 18]}", "base.overrides={steps: 4}"),
        ("base=lerobot", "base.observation={a: proprioception, b: [[0, 3], [5, 9]], c: [9, 12]}"),
        ("algo.target_clip=[0,1]", "algo.target_clip=reachable", "base.pad_obs_to=50", "task.sizes=[50,7]"),
    ],
)
def test_a_host_that_gives_nothing_gets_what_the_run_shares(overrides: tuple[str, ...]) -> None:
    learner, host = compose_config(overrides), compose_config(["actor.num_envs=3", "wire.heartbeat_s=2"])
    joined = join_run(read_run(over_the_wire(learner)), host, set())
    for key in ("name", "seed", "task", "algo"):
        assert getattr(joined, key) == getattr(learner, key)
    assert joined.learner.record_images == learner.learner.record_images
    assert (joined.actor, joined.wire) == (host.actor, host.wire)
    assert joined.base == learner.base


def test_a_host_says_where_its_base_is_and_how_it_computes_plans() -> None:
    learner = compose_config(
        [*LEARNER, "base.cuda_graph=true", "base.native=false", "base.inference_steps=2"]
    )
    given = ["base.path=/elsewhere", "base.native=true"]
    joined = join_run(read_run(over_the_wire(learner)), compose_config(given), host_keys(given))
    wanted = {"path": "/elsewhere", "native": True, "cuda_graph": False}
    assert joined.base == msgspec.structs.replace(learner.base, **wanted)


def test_a_key_that_the_learner_s_kind_of_base_lacks_is_named() -> None:
    shared = read_run(over_the_wire(compose_config(["base=zero"])))
    with pytest.raises(ConfigError, match="base.native does not exist for the learner's base=zero"):
        join_run(shared, compose_config([]), {"base.native"})


@pytest.mark.parametrize(
    "override",
    [
        "task=pick_cube", "task.env_id=PickCube-v1", "algo=policy_decorator", "algo.gamma=0.9", "seed=1",
        "name=mine", "learner.record_images=null", "base=zero", "base.act_horizon=8",
        "base.inference_steps=2", "runs_dir=there", "+task.more=1", "~algo.gamma",
    ],
)  # fmt: skip
def test_what_comes_from_the_learner_cannot_be_given(override: str) -> None:
    with pytest.raises(UsageError) as refused:
        host_keys(["actor.num_envs=2", override])
    key = override.lstrip("+~").partition("=")[0]
    assert str(refused.value).startswith(f"{key}: this comes from the learner")
    for allowed in ("actor.*", "wire.*", "base.path", "base.native", "base.cuda_graph"):
        assert allowed in str(refused.value)


def changed(described: dict[str, Any], place: str, value: object) -> dict[str, Any]:
    """A description with one value replaced, or a key added."""
    first, _, rest = place.partition(".")
    return described | {first: changed(described[first], rest, value) if rest else value}


@pytest.mark.parametrize(
    ("place", "value", "says"),
    [
        ("seed", "one", "`$.seed`"),
        ("seed", -1, "seed must be in"),
        ("name", "../escape", "name must be letters"),
        ("task.max_episode_steps", 0, "max_episode_steps must be at least 1"),
        ("task.evil\nline", 1, "`evil line` - at `$.task`"),
        ("algo.gamma", None, "`$.algo.gamma`"),
        ("base.type", "other", "`$.base.type`"),
        ("algo.residual_every", 3, "residual_every must divide base.act_horizon=4"),
        ("base_fingerprint", "\x1b[2J", "base_fingerprint must be printable"),
        ("base_folder", "a\nb", "base_folder must be printable"),
        ("more", 1, "`more`"),
        ("algo", [], "`$.algo`"),
    ],
)
def test_a_description_that_cannot_be_used_is_one_line_that_names_the_key(
    place: str, value: object, says: str
) -> None:
    host = compose_config([])
    described = changed(over_the_wire(compose_config(LEARNER)), place, value)
    with pytest.raises(ConfigError) as refused:
        join_run(read_run(described), host, set())
    line = str(refused.value)
    assert line.startswith("the learner sent a configuration that cannot be used: ")
    assert says in line and line.isprintable()


def test_a_description_that_lacks_a_key_is_named_too() -> None:
    described = over_the_wire(compose_config(LEARNER))
    del described["algo"]
    with pytest.raises(ConfigError, match="the learner sent .* missing required field `algo`"):
        read_run(described)


def test_a_host_may_intervene_only_where_the_learner_keeps_interventions() -> None:
    host = compose_config(["actor.intervene=keyboard"])
    with pytest.raises(ConfigError, match="start the run with learner.interventions=true"):
        join_run(read_run(over_the_wire(compose_config([]))), host, set())
    for words in (["learner.interventions=true"], ["actor.intervene=expert", "actor.expert.run=x"]):
        joined = join_run(read_run(over_the_wire(compose_config(words))), host, set())
        assert joined.interventions and joined.actor.intervene == "keyboard"
        assert join_run(
            read_run(over_the_wire(compose_config(words))), compose_config([]), set()
        ).interventions
