"""Demonstrations as people bring them: understood, or refused by one line that says where and what to do."""

import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from config.section import ConfigError
from config.train_base import compose_training
from learner.base_training.demonstrations import read_episodes
from learner.folder import RunError
from learner.replay.prior.demonstration import Demonstration
from learner.replay.prior.error import DemonstrationError
from learner.replay.prior.maniskill import write_maniskill
from learner.replay.prior.origin import Origin
from learner.replay.prior.read import ANY, Wanted, read_demonstrations
from learner.replay.prior.source import require_prior_sources
from tests.support.demonstrations import (
    FRAMES,
    Change,
    both,
    describe,
    in_parts,
    no_observations,
    put,
    shown,
    unchanged,
    write_h5,
)
from tests.support.helpers import make_config

LAST = [False] * (FRAMES - 1) + [True]


def refusal(source: Path | str, wanted: Wanted = ANY) -> str:
    with pytest.raises(DemonstrationError) as refused:
        read_demonstrations(source, wanted)
    assert "\n" not in str(refused.value)
    return str(refused.value)


def assert_shown(episodes: list[Demonstration]) -> None:
    for read, there in zip(episodes, shown(), strict=True):
        np.testing.assert_array_equal(read.observations, there.observations)
        np.testing.assert_array_equal(read.actions, there.actions)
        assert read.success.tolist() == LAST
        assert (read.observations.dtype, read.success.dtype) == (np.float32, bool)


def renamed(name: str) -> Any:
    def change(group: Any, number: int) -> None:
        group.file.move(group.name, name.format(number))

    return change


def with_nan(array: np.ndarray) -> np.ndarray:
    array[4, 2] = np.nan
    return array


def with_reward(reward: Any) -> Any:
    """In the place of success."""

    def change(group: Any, number: int) -> None:
        del group["success"]
        group["rewards"] = np.float32(reward)

    return change


def state_beside_images(group: Any, number: int) -> None:
    """obs_mode rgb+state"""
    whole = group["obs"][()]
    no_observations(group, number)
    group["obs/state"], group["obs/sensor_data/base_camera/rgb"] = whole, np.zeros((7, 4, 4, 3), np.uint8)


def images_alone(group: Any, number: int) -> None:
    """obs_mode rgb: extra lacks what the cameras show (ManiSkill #1166)."""
    state_beside_images(group, number)
    group["obs/agent/qpos"] = group["obs/state"][()]
    del group["obs/state"]


UNDERSTOOD = {
    "as ManiSkill writes it": unchanged,
    "success as a column of bytes": put("success", lambda s: s[:, None].astype(np.uint8)),
    "success as float": put("success", lambda s: s.astype(np.float64)),
    "observations in parts, in order": in_parts(ordered=True),
    "state beside images": state_beside_images,
    "double precision": both(
        put("obs", lambda o: o.astype(np.float64)), put("actions", lambda a: a.astype(np.float64))
    ),
    "reward of 0 and 1, no success": with_reward(LAST),
    "reward of -1 and 0, no success": with_reward([-1.0] * (FRAMES - 1) + [0.0]),
}


@pytest.mark.parametrize("name", ["demos.h5", "demos.hdf5", "demos", "my demos=1 ü.h5"])
@pytest.mark.parametrize("kind", UNDERSTOOD)
def test_what_can_be_understood_gives_the_same_episodes(kind: str, name: str, tmp_path: Path) -> None:
    assert_shown(read_demonstrations(write_h5(tmp_path / name, UNDERSTOOD[kind])).episodes)


def test_episodes_may_differ_in_length_and_come_by_their_number(tmp_path: Path) -> None:
    def shorten(group: Any, number: int) -> None:
        both(*(put(name, lambda array: array[number:]) for name in ("obs", "actions", "success")))(
            group, number
        )
        group.file.move(group.name, f"traj_{10 - number}")

    episodes = read_demonstrations(write_h5(tmp_path / "demos.h5", shorten)).episodes
    assert [len(episode.actions) for episode in episodes] == [FRAMES - 2, FRAMES - 1, FRAMES]


REFUSED = {
    "a value that is not finite": (
        put("obs", with_nan, 1), "demos.h5, episode 1: observations at frame 4, dimension 2 is nan",
    ),
    "an infinite action": (put("actions", lambda a: a + np.inf, 1), "episode 1: actions at frame 0"),
    "beyond a float": (put("obs", lambda o: o.astype(float) + 1e300), "observations at frame 0, .* is inf"),
    "no last observation": (
        put("obs", lambda o: o[:-1]),
        "6 observations for 6 actions: the one after the last action is missing.*replay_trajectory",
    ),
    "too few observations": (
        put("obs", lambda o: o[:-2]), "5 observations for 6 actions, there must be 7",
    ),
    "a reward that is needed is not finite": (
        with_reward([0.0] * 3 + [np.nan] * 2 + [1.0]),
        "demos.h5, episode 0: the reward at frame 3 is nan, one of 2 such values: remove the episode",
    ),
    "another width in one episode": (put("obs", lambda o: o[:, :-1], 2), r"episode 2.*\(7, 41\), not"),
    "success of another length": (put("success", lambda s: s[:-1], 1), "5 success for 6 actions"),
    "success that is none": (put("success", lambda s: s + 2.5, 1), "success at frame 0 is 2.5, not 0 or 1"),
    "success of several": (put("success", lambda s: s.reshape(2, 3)), r"success has shape \(2, 3\)"),
    "the planner's raw file": (no_observations, "obs has nothing in it, .*replay_trajectory .* -o state"),
    "parts without an order": (in_parts(ordered=False), "does not keep their order: .*replay_trajectory"),
    "images alone": (images_alone, "obs has agent, sensor_data, no state .*replay_trajectory"),
    "zeros, as of a virtual dataset without its file": (
        put("obs", np.zeros_like, 1), "episode 1: all observations are zero",
    ),
    "words": (put("obs", lambda o: "words"), "obs is not an array of numbers"),
    "no observations": (put("obs", lambda o: None), "traj_0 has no obs, it has actions, term"),
    "no frames": (put("actions", lambda a: a[:0], 1), "episode 1 has no actions"),
    "no dimensions": (put("actions", lambda a: a[:, :0]), r"actions have shape \(6, 0\)"),
    "success in one episode alone": (put("success", lambda s: None, 0), "episode 0: it has no success"),
    # What other projects call episodes: robomimic (robomimic #238), D4RL, Isaac Lab.
    "robomimic": (renamed("data/demo_{}"), "has data/demo_0, data/demo_1, data/demo_2 where .* traj_0"),
    "one name of another kind": (renamed("traj_{}_copy"), "has traj_0_copy, .* where"),
}  # fmt: skip


@pytest.mark.filterwarnings("ignore:.*(divide|invalid)")
@pytest.mark.parametrize("kind", REFUSED)
def test_what_cannot_be_learned_from_is_refused_with_its_place(kind: str, tmp_path: Path) -> None:
    change, says = REFUSED[kind]
    with pytest.raises(DemonstrationError, match=says):
        read_demonstrations(write_h5(tmp_path / "demos.h5", change))
    assert "demos.h5" in refusal(tmp_path / "demos.h5")


def test_arrays_of_all_episodes_end_to_end_are_no_trajectories(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "d4rl.hdf5", "w") as file:  # D4RL's layout
        file["observations"], file["rewards"] = np.zeros((9, 3)), np.zeros(9)
    assert "has observations, rewards where a ManiSkill" in refusal(tmp_path / "d4rl.hdf5")


def cut_short(path: Path) -> None:  # h5py #2340, D4RL #210
    path.write_bytes(write_h5(path).read_bytes()[:5000])


BROKEN = {
    "a pointer of Git LFS": (
        lambda path: path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n"),
        "git lfs pull",
    ),
    "nothing in it": (lambda path: path.touch(), "empty: it has 0 bytes"),
    "something else": (lambda path: path.write_text("{}"), "no HDF5 file"),
    "cut short": (cut_short, "is not a readable ManiSkill trajectory file: .*truncated.*: copy it again"),
    "no episodes": (lambda path: h5py.File(path, "w").close(), "has nothing where"),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_file_is_named(kind: str, tmp_path: Path) -> None:
    make, says = BROKEN[kind]
    make(tmp_path / "demos.h5")
    with pytest.raises(DemonstrationError, match=f"demos.h5.*{says}"):
        read_demonstrations(tmp_path / "demos.h5")


def test_every_user_of_demonstrations_refuses_in_the_same_words(tmp_path: Path) -> None:
    path = write_h5(tmp_path / "demos.h5", put("obs", lambda o: o[:-1]))
    with pytest.raises(DemonstrationError) as of_training:
        read_episodes(compose_training([f"demos={path}"]))
    assert str(of_training.value) == refusal(path)


# Rewards that mark no success: dense, and the same everywhere (robocasa #165: all zero).
@pytest.mark.parametrize(
    ("reward", "says"),
    [
        (np.linspace(0, 1, FRAMES), r"a dense reward \(0 .. 1, not 0 and 1 or -1 and 0\)"),
        (np.zeros(FRAMES), r"the same reward everywhere \(0.0\)"),
        (np.ones(FRAMES), r"the same reward everywhere \(1.0\)"),
        (None, "no reward"),
    ],
)
def test_success_that_nothing_says_is_refused_unless_a_key_says_it(
    reward: np.ndarray | None, says: str, tmp_path: Path
) -> None:
    change = put("success", lambda s: None) if reward is None else with_reward(reward)
    path = write_h5(tmp_path / "demos.h5", change)
    with pytest.raises(DemonstrationError, match=f"no success and {says}; .*without_success=last_frame"):
        read_demonstrations(path)
    assert_shown(read_demonstrations(path, Wanted(last_frame_succeeds=True)).episodes)


def test_the_key_does_not_overrule_what_the_data_says(tmp_path: Path) -> None:
    path = write_h5(tmp_path / "demos.h5", put("success", np.zeros_like))
    episodes = read_demonstrations(path, Wanted(last_frame_succeeds=True)).episodes
    assert not any(episode.success.any() for episode in episodes)


def env_info(env_id: str, **kwargs: str) -> dict[str, Any]:
    return {"env_id": env_id, "env_kwargs": {"obs_mode": "state"} | kwargs}


RUNS = Wanted(env_id="PickCube-v1", control_mode="pd_ee_delta_pose")
SAME = {
    "no json": None,
    "task and mode": {"env_info": env_info("PickCube-v1", control_mode="pd_ee_delta_pose")},
    "no mode": {"env_info": env_info("PickCube-v1")},
    "mode of the episodes": {
        "env_info": env_info("PickCube-v1", control_mode="pd_joint_pos"),
        "episodes": [{"episode_id": 0, "control_mode": "pd_ee_delta_pose", "elapsed_steps": float("nan")}],
    },
}
OTHER = {
    "task": ({"env_info": env_info("StackCube-v1")}, "of task StackCube-v1, this is PickCube-v1"),
    "mode": (
        {"env_info": env_info("PickCube-v1", control_mode="pd_joint_pos")},
        "of control mode pd_joint_pos, this is pd_ee_delta_pose",
    ),
    "mode of one episode": (
        {"env_info": env_info("PickCube-v1"), "episodes": [{"control_mode": "pd_joint_delta_pos"}]},
        "of control mode pd_joint_delta_pos",
    ),
}


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (put("success", np.zeros_like), "none of its 3 episodes is successful"),
        (put("actions", lambda a: a * 90), "actions are as large as"),
    ],
)
def test_what_is_more_often_a_mistake_is_warned_of(
    change: Change, says: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert len(read_demonstrations(write_h5(tmp_path / "demos.h5", change)).episodes) == 3
    assert says in caplog.text


@pytest.mark.parametrize("kind", SAME)
def test_data_of_the_same_task_and_mode_is_taken(kind: str, tmp_path: Path) -> None:
    path = write_h5(tmp_path / "demos.h5")
    if (content := SAME[kind]) is not None:
        describe(path, **content)
    assert_shown(read_demonstrations(path, RUNS).episodes)


@pytest.mark.parametrize("kind", OTHER)
def test_data_of_another_task_or_mode_is_refused_unless_a_key_accepts_it(kind: str, tmp_path: Path) -> None:
    path = write_h5(tmp_path / "demos.h5")
    content, says = OTHER[kind]
    describe(path, **content)
    assert says in refusal(path, RUNS) and "demos_of_other_tasks=accept" in refusal(path, RUNS)
    settings = compose_training([f"demos={path}", "task=PickCube-v1"])
    with pytest.raises(DemonstrationError, match=says):
        read_episodes(settings)
    accepting = compose_training([f"demos={path}", "task=PickCube-v1", "demos_of_other_tasks=accept"])
    assert_shown(read_episodes(accepting))


@pytest.mark.parametrize("text", ["", "[]", "{", '{"env_info": 3}', '{"env_info": {"env_id": 3}}', "\0"])
def test_a_json_that_says_nothing_of_trajectories_is_named(text: str, tmp_path: Path) -> None:
    path = write_h5(tmp_path / "demos.h5")
    path.with_suffix(".json").write_text(text)
    assert "demos.json, which describes demonstrations, is broken" in refusal(path)


def test_a_json_of_an_editor_on_windows_is_read(tmp_path: Path) -> None:
    path = write_h5(tmp_path / "demos.h5")
    text = json.dumps({"env_info": env_info("StackCube-v1")})
    path.with_suffix(".json").write_text(text, encoding="utf-8-sig")
    assert read_demonstrations(path).origin.env_id == "StackCube-v1"


def test_what_is_written_says_where_it_comes_from(tmp_path: Path) -> None:
    origin = Origin("StackCube-v1", ("pd_ee_delta_pose",))
    write_maniskill(tmp_path / "few.h5", shown(), origin)
    read = read_demonstrations(tmp_path / "few.h5")
    assert_shown(read.episodes)
    assert read.origin == origin
    assert len(json.loads((tmp_path / "few.json").read_text())["episodes"]) == 3


def missing_sources(tmp_path: Path) -> dict[str, str]:
    (tmp_path / "run/replay/meta").mkdir(parents=True)
    (tmp_path / "run/replay/meta/info.json").touch()
    (tmp_path / "empty").mkdir()
    write_h5(tmp_path / "a b=c.h5")
    (tmp_path / "link.h5").symlink_to("nowhere.h5")
    return {
        "none.h5": "no demonstrations at .*none.h5: make some",
        "link.h5": "link.h5 is a link to nowhere.h5, which is not there",
        "empty": "no LeRobot dataset: it has no meta/info.json: make some",
        "run": "it has no meta/info.json; the run's replay is .*run/replay",
        ".": "it has no meta/info.json; its ManiSkill files: .*a b=c.h5",
        "x" * 300: "cannot be read: File name too long",
    }


@pytest.mark.parametrize("name", ["none.h5", "link.h5", "empty", "run", ".", "x" * 300])
def test_a_source_that_is_no_data_is_refused_before_anything_starts(name: str, tmp_path: Path) -> None:
    says = missing_sources(tmp_path)[name]
    with pytest.raises(RunError, match=f"learner.demos: .*{says}.*learner.demos=null"):
        require_prior_sources(make_config(f"learner.demos=['{tmp_path / name}']"))
    with pytest.raises(DemonstrationError, match=says):
        read_demonstrations(tmp_path / name)


def test_names_that_are_there_pass_and_without_prior_data_none_is_asked_for(tmp_path: Path) -> None:
    missing_sources(tmp_path)
    require_prior_sources(make_config(f"learner.demos=['{tmp_path}/a b=c.h5',lerobot/pusht]"))
    require_prior_sources(make_config("learner.demos=none.h5", "algo.prior_fraction=0"))
    require_prior_sources(make_config("learner.demos=null"))


@pytest.mark.parametrize("value", ["[]", "''", "['']", "[a.h5,'']"])
def test_no_name_at_all_is_refused_by_the_key(value: str) -> None:
    for compose, key in ((make_config, "learner.demos"), (lambda word: compose_training([word]), "demos")):
        with pytest.raises(ConfigError, match="demos must be given"):
            compose(f"{key}={value}")
