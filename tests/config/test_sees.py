"""algo.sees, algo.critics_see and task.proprioception: what is refused, and what older files mean."""

import re
from pathlib import Path

import pytest
import yaml

from config.algo import AlgoConfig
from config.compose import compose_config, config_text, read_config
from config.layout import parts_of
from config.section import ConfigError
from config.spaces import known_spaces
from tests.support.helpers import ROOT

TASKS = sorted(path.stem for path in (ROOT / "config" / "task").glob("*.yaml"))
YOUNG = {
    "algo": ("sees", "critics_see", "proprioception"),
    "task": ("proprioception",),
    "learner": ("keep_features",),
}


def refusal(*words: str) -> str:
    with pytest.raises(ConfigError) as refused:
        compose_config(words)
    line = str(refused.value)
    assert "\n" not in line
    return line


@pytest.mark.parametrize("words", ["eyes", "state,eyes", "", "state,state"])
@pytest.mark.parametrize("key", ["sees", "critics_see"])
def test_words_that_are_none_are_refused_with_those_that_there_are(key: str, words: str) -> None:
    line = refusal(f"algo.{key}=[{words}]")
    assert (
        f"{key} must be one or more different words of state, proprioception, features, pictures, got" in line
    )


def test_proprioception_of_a_task_that_names_none_is_refused_and_can_be_given() -> None:
    words = ("task.env_id=PushCube-v1", "algo.sees=[proprioception]")
    assert "set algo.proprioception=[agent.qpos,agent.qvel], names" in refusal(*words)
    algo = compose_config([*words, "algo.proprioception=[qpos,[9,18],tcp_pose]"]).algo
    assert isinstance(algo, AlgoConfig) and algo.proprioception == ((0, 9), (9, 18), (18, 25))
    line = refusal(*words, "algo.proprioception=[hands]")
    assert line.startswith(
        "configuration: algo.proprioception: hands is no part of the observation: agent.qpos [0"
    )
    assert "ranges [first, end) with first below end" in refusal("algo.proprioception=[[18,0]]")


def test_critics_see_what_the_actor_sees_unless_they_are_told_otherwise() -> None:
    algo = compose_config(["algo.sees=[features]"]).algo
    assert isinstance(algo, AlgoConfig) and algo.critics_see == ("features",)
    algo = compose_config(["algo.sees=[features]", "algo.critics_see=[state]"]).algo
    assert isinstance(algo, AlgoConfig) and algo.critics_see == ("state",) and algo.needs_features


@pytest.mark.parametrize("task", TASKS)
def test_each_shipped_task_says_which_part_of_its_observation_is_the_robot_s(task: str) -> None:
    config = compose_config([f"task={task}"])
    ranges = config.task.proprioception[config.task.env_id]
    assert isinstance(config.algo, AlgoConfig) and config.algo.proprioception == ranges
    known = known_spaces(config.task.env_id, config.task.control_mode)
    assert known.observation_dim is not None and known.layout is not None
    ends = [0, *(dim for part in ranges for dim in part), known.observation_dim]
    assert ends == sorted(ends)
    robot = [part for part in parts_of(known.layout) if re.match(r"agent\.|extra\.tcp_pose$", part.name)]
    if robot:  # of ManiSkill's layout
        dims = [dim for part in robot for dim in range(part.start, part.end)]
        assert [dim for first, end in ranges for dim in range(first, end)] == dims


def test_actors_and_learner_compare_what_the_actor_sees_and_the_default_says_nothing_of_it() -> None:
    plain, robot = (compose_config(words).algo.describe() for words in ([], ["algo.sees=[proprioception]"]))
    assert "sees" not in plain
    assert robot == f"{plain} sees proprioception ((0, 9), (9, 18), (19, 26))"


@pytest.mark.parametrize("words", [[], ["algo=collect", "algo.episodes=3"]])
def test_a_file_of_the_release_before_means_the_state(words: list[str], tmp_path: Path) -> None:
    config = compose_config(words)
    plain = yaml.safe_load(config_text(config))
    for section, keys in YOUNG.items():
        for key in keys:
            plain[section].pop(key, None)
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(plain))
    found = read_config(tmp_path / "config.yaml")
    assert found.task.proprioception == {} and found.learner.keep_features
    if isinstance(found.algo, AlgoConfig):
        assert found.algo.sees == found.algo.critics_see == ("state",)
        assert found.algo.describe() == config.algo.describe()


SEES_DEPTH = (
    "task.cameras=[top,top_depth]", "algo.sees=[pictures]", "learner.demos=null", "algo.prior_fraction=0",
)  # fmt: skip


def test_colours_and_depth_are_seen_together_or_alone_as_cameras_are() -> None:
    algo = compose_config([*SEES_DEPTH]).algo
    assert isinstance(algo, AlgoConfig) and algo.pictures.cameras == ("top", "top_depth")
    assert "top, top_depth" in algo.describe() and "depth [0.0, 4.0]" in algo.describe()
    algo = compose_config([*SEES_DEPTH, "algo.pictures.cameras=[top_depth]"]).algo
    assert isinstance(algo, AlgoConfig) and algo.pictures.cameras == ("top_depth",)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (
            ["task.cameras=[top]", "algo.pictures.cameras=[top_depth]"],
            "names top_depth, task.cameras does not",
        ),
        (["task.cameras=[]"], "algo.pictures.cameras names no camera: set task.cameras="),
        (
            ["learner.record_images=null"],
            "learner.record_images must be image or video where algo.sees names",
        ),
        (
            ["algo.pictures.depth_range=[2,1]"],
            "depth_range must be [near, far] in metres with 0 <= near < far",
        ),
    ],
)
def test_depth_that_nobody_can_see_is_refused(words: list[str], says: str) -> None:
    assert says in refusal(*SEES_DEPTH, *words)


def test_an_algorithm_that_sees_no_pictures_sees_no_depth() -> None:
    line = refusal("algo=ppo", "task.cameras=[top_depth]", "algo.sees=[pictures]")
    assert "sees must be of state and proprioception" in line


def test_a_file_from_before_depth_means_the_default_range(tmp_path: Path) -> None:
    config = compose_config(["algo.pictures.width=7"])
    plain = yaml.safe_load(config_text(config))
    del plain["algo"]["pictures"]["depth_range"]
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(plain))
    assert read_config(tmp_path / "config.yaml") == config
