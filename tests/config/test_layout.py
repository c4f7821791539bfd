"""Names of parts of an observation, in the place of indices."""

import copy
from typing import Any

import msgspec
import pytest

from config.compose import compose_config, read_config, write_config
from config.layout import find_index, name_of, with_indices
from config.section import ConfigError
from config.spaces import known_spaces
from config.task import TaskConfig

LAYOUT = {"agent.qpos": 9, "agent.pose": 7, "extra.pose": 7, "extra.goal": 3, "width": 1}


@pytest.mark.parametrize(
    ("name", "length", "index"),
    [
        ("agent.qpos", 3, 0), ("extra.pose", 7, 16), ("extra/pose", 7, 16), ("goal", 3, 23), ("width", 1, 26),
        ("extra.pose.4", 3, 20), ("qpos.0", 3, 0),
    ],
)  # fmt: skip
def test_a_name_is_where_its_part_begins_or_a_dimension_within_it(name: str, length: int, index: int) -> None:
    assert find_index(name, length, LAYOUT) == index


def test_a_part_with_slashes_in_its_name_is_found_as_its_simulator_writes_it() -> None:
    for name in ("walker/joints", "walker.joints", "joints"):
        assert find_index(name, 2, {"height": 1, "walker/joints": 2}) == 1


def test_an_index_is_named_by_its_part() -> None:
    assert [name_of(index, LAYOUT) for index in (0, 16, 20, 26)] == [
        "agent.qpos", "extra.pose", "extra.pose.4", "width",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "length", "says"),
    [
        ("cube", 3, r"cube is no part of the observation: agent\.qpos \[0, 9\), .*, width \[26, 27\)"),
        ("pose", 3, "pose is no part"),  # of two
        ("goal", 7, r"goal has fewer than 7 dimensions within extra\.goal \[23, 26\)"),
        ("extra.pose.5", 3, r"extra\.pose\.5 has fewer than 3"),
        ("cube.1", 1, r"cube\.1 is no part"),
    ],
)
def test_a_name_that_is_none_says_which_there_are(name: str, length: int, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        find_index(name, length, LAYOUT)


@pytest.mark.parametrize(
    ("task", "text"),
    [
        ("pick_cube", ["29 from 19", "26 from 29"]),
        ("stack_cube", ["25 from 18", "32 from 25"]),
        ("peg_insertion_side", ["25 + 32 ahead from 35 turned", "axis of 25 from 35 turned"]),
        ("peg_insertion_side_bounded", ["25 + 32 ahead from 35 turned"]),
        ("fetch_reach", ["3 from 6"]),
        ("fetch_push", ["9 from 6", "3 from 9"]),
        ("fetch_slide", ["9 from 6", "3 from 9"]),
        ("fetch_pick_and_place", ["9 from 6", "3 from 9"]),
    ],
)
def test_shipped_tasks_relate_what_their_published_runs_did(task: str, text: list[str]) -> None:
    """Learner, actors and checkpoints compare these words."""
    config = compose_config([f"task={task}"])
    assert [each.text for each in config.algo.relations] == text
    assert config.task.relations[config.task.env_id] == config.algo.relations


def test_names_and_indices_are_the_same_run() -> None:
    by_name, by_index = (
        compose_config([f"algo.relations=[{{point: {point}, tip: null, origin: {origin}, turned: false}}]"])
        for point, origin in (("extra.obj_pose", "tcp_pose"), (29, 19))
    )
    assert (by_name.task, by_name.algo) == (by_index.task, by_index.algo)


def test_a_run_keeps_indices_and_takes_names(tmp_path) -> None:
    path = tmp_path / "config.yaml"
    write_config(path, compose_config([]))
    assert "obj_pose" not in path.read_text()
    read = read_config(
        path, ["algo.relations=[{point: goal_pos, tip: null, origin: tcp_pose, turned: true}]"]
    )
    assert [each.text for each in read.algo.relations] == ["26 from 19 turned"]


@pytest.mark.parametrize(
    ("relation", "says"),
    [
        (
            "{point: cube, tip: null, origin: tcp_pose, turned: false}",
            "^configuration: algo.relations: cube is no",
        ),
        ("{point: obj_pose, tip: null, origin: goal_pos, turned: true}", "goal_pos has fewer than 7"),
        ("{point: obj_pose, tip: false, origin: tcp_pose, turned: false}", "tip"),
    ],
)
def test_a_name_that_does_not_fit_is_one_line(relation: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says) as raised:
        compose_config([f"algo.relations=[{relation}]"])
    assert "\n" not in str(raised.value)


def plain(env_id: str, of_tasks: dict[str, Any]) -> dict[str, Any]:
    task = {"env_id": env_id, "control_mode": "pd_ee_delta_pose", "relations": of_tasks}
    return {"task": task, "algo": {"relations": of_tasks.get(env_id, [])}}


NAMED = [{"point": "goal", "tip": None, "origin": "agent.pose", "turned": True}]


def test_a_simulator_is_asked_about_an_unknown_task_that_is_played_and_about_no_other(monkeypatch) -> None:
    asked: list[str] = []

    def ask(task: TaskConfig) -> dict[str, int]:
        asked.append(task.env_id)
        return LAYOUT

    whole = compose_config([]).task
    given = plain("New-v1", {"New-v1": NAMED, "Other-v1": NAMED, "Third-v1": [{"point": 3}]})
    given["task"] = msgspec.to_builtins(whole) | given["task"]
    before = copy.deepcopy(given)
    found = with_indices(given, ask)
    assert given == before and set(asked) == {"New-v1"}
    numbered = [{"point": 23, "tip": None, "origin": 9, "turned": True}]
    assert found["algo"]["relations"] == numbered
    assert found["task"]["relations"] == {"New-v1": numbered, "Third-v1": [{"point": 3}]}
    assert with_indices(given, None)["algo"]["relations"] == NAMED


def test_a_simulator_is_asked_for_the_robot_s_part_too() -> None:
    given = plain("New-v1", {})
    given["task"] = msgspec.to_builtins(compose_config([]).task) | given["task"]
    given["task"]["proprioception"] = {"New-v1": ["qpos", [10, 12]], "Other-v1": ["qpos"]}
    given["algo"]["proprioception"] = ["extra.pose"]
    found = with_indices(given, lambda task: LAYOUT)
    assert found["task"]["proprioception"] == {"New-v1": [[0, 9], [10, 12]]}
    assert found["algo"]["proprioception"] == [[16, 23]]


def test_what_is_no_relation_is_left_to_the_check_of_all_keys() -> None:
    for relations in (5, "x", [5], {"a": 1}, None):
        given = plain("PickCube-v1", {"PickCube-v1": relations})
        assert with_indices(given, None) == given
    assert with_indices({"task": "PickCube-v1"}, None) == {"task": "PickCube-v1"}


def test_the_table_knows_no_layout_of_a_control_mode_that_it_does_not_list() -> None:
    assert known_spaces("PickCube-v1", "pd_ee_delta_pose").observation_dim == 42
    assert known_spaces("PickCube-v1", "pd_ee_target_delta_pose").layout is None
