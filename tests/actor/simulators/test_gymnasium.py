"""Tasks of gymnasium's registry: rows, actions in [-1, 1], success, seeds, and what cannot be played."""

import importlib.metadata
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gymnasium
import msgspec
import numpy as np
import pytest
import torch
from gymnasium import spaces

from actor.policy.dimensions import dimensions_of
from actor.simulators import mujoco_pictures
from actor.simulators.contract import RenderError, TaskError, UnplayableError
from actor.simulators.gymnasium import first_observation, require, single_environment, state_layout
from actor.simulators.make import make_environment
from actor.simulators.spaces import ActionScale, StateRow
from config.section import ConfigError
from config.spaces import spaces_of
from config.task import TaskConfig
from tests.support.fetch import INSTALL, needs_fetch
from tests.support.helpers import make_config

PENDULUM = make_config("task=pendulum").task


class Shelf(gymnasium.Env):
    """A task whose numbers say where they belong: parts in parts, bounds of its own, an end at 3."""

    observation_space = spaces.Dict(
        {
            "z": spaces.Box(-np.inf, np.inf, (2, 2), np.float64),
            "a": spaces.Dict({"goal": spaces.Box(-9, 9, (1,)), "arm": spaces.Box(-9, 9, (2,))}),
        }
    )
    action_space = spaces.Box(np.array([-2.0, 0.0], np.float32), np.array([2.0, 10.0], np.float32))

    def __init__(self, says: str | None = "is_success") -> None:
        self._says = says

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict]:
        super().reset(seed=seed)
        self._frame = 0
        return self._seen(np.zeros(2)), {}

    def _seen(self, action: np.ndarray) -> dict[str, Any]:
        return {
            "z": np.array([[10.0, 11.0], [12.0, 13.0]]),
            "a": {"goal": np.array([1.0]), "arm": action.astype(np.float32)},
        }

    def step(self, action: np.ndarray) -> tuple[Any, float, bool, bool, dict]:
        self._frame += 1
        info = {} if self._says is None else {self._says: np.float32(self._frame >= 2)}
        return self._seen(action), -1.5 + self._frame, self._frame >= 3, False, info


@pytest.fixture(scope="module", autouse=True)
def registered() -> Iterator[None]:
    gymnasium.register("Shelf-v0", Shelf)
    gymnasium.register("SilentShelf-v0", lambda: Shelf(says=None))
    yield
    del gymnasium.registry["Shelf-v0"], gymnasium.registry["SilentShelf-v0"]


def a_task(env_id: str = "Shelf-v0", **changes: Any) -> TaskConfig:
    """A task with changes to task.gymnasium, where their names are its keys, else to task."""
    inner = {key: changes.pop(key) for key in ("package", "success", "success_reward") if key in changes}
    usual = {"success": "is_success", "success_reward": None}
    settings = msgspec.structs.replace(PENDULUM.gymnasium, **usual | inner)
    return msgspec.structs.replace(PENDULUM, env_id=env_id, gymnasium=settings, **changes)


def play(task: TaskConfig, frames: int = 3) -> list[tuple[float, bool, bool, bool]]:
    """(reward, terminated, truncated, success) of each frame up to an episode's end."""
    env = single_environment(task, 0, 1)
    env.reset()
    seen = []
    for _ in range(frames):
        _, reward, terminated, truncated, info = env.step(np.zeros(env.action_space.shape))
        seen.append((reward, terminated, truncated, info["success"]))
        if terminated or truncated:
            break
    return seen


def test_a_row_has_the_parts_in_the_order_of_the_observations_space() -> None:
    env = single_environment(a_task(), 0, 1)
    env.reset()
    row = env.step(np.array([0.5, 0.5], np.float32))[0]
    assert row.dtype == np.float32 and row.tolist() == [1.0, 7.5, 1.0, 10, 11, 12, 13]
    layout, action_dim = state_layout(a_task())
    assert list(layout.items()) == [("a.arm", 2), ("a.goal", 1), ("z", 4)] and action_dim == 2
    assert {name: len(values) for name, values in first_observation(a_task(), 0).items()} == layout


def test_actions_are_scaled_to_the_tasks_bounds() -> None:
    scale = ActionScale(Shelf.action_space, "Shelf-v0")
    assert scale.own(np.array([-1.0, -1.0])).tolist() == [-2, 0]
    assert scale.own(np.array([0.5, 0.5])).tolist() == [1, 7.5]
    assert scale.own(np.array([9.0, -9.0])).tolist() == [2, 0]  # clipped, as the published code does


def test_actions_in_unit_bounds_are_untouched() -> None:
    scale = ActionScale(spaces.Box(-1, 1, (3,)), "x")
    row = np.random.default_rng(0).uniform(-1, 1, 3).astype(np.float32)
    assert np.array_equal(scale.own(row), row)


@pytest.mark.parametrize(
    ("changes", "frames"),
    [
        # Success at frame 2 ends the episode, which counts as terminated; the task itself ends at 3.
        ({}, [(0, False, False, False), (1, True, False, True)]),
        (
            {"success_ends": False},
            [(0, False, False, False), (1, False, False, True), (1, True, False, True)],
        ),
        ({"success": "terminated"}, [(0, False, False, False)] * 2 + [(1, True, False, True)]),
        (
            {"success": "reward", "success_reward": 0.5, "reward_mode": "own"},
            [(-0.5, False, False, False), (0.5, True, False, True)],
        ),
        ({"success_ends": False, "max_episode_steps": 1}, [(0, False, True, False)]),
    ],
)  # fmt: skip
def test_success_is_what_the_configuration_asks_for(changes: dict[str, Any], frames: list[Any]) -> None:
    assert play(a_task(**changes)) == frames


def test_beside_a_classifier_the_task_ends_episodes_and_its_success_does_not() -> None:
    task = msgspec.structs.replace(a_task(), success="classifier:anywhere")
    assert play(task) == [(0, False, False, False), (1, False, False, True), (1, True, False, True)]


def test_a_task_that_never_says_whether_it_succeeded_is_refused_at_its_first_end() -> None:
    with pytest.raises(
        UnplayableError, match=r"SilentShelf-v0 reports no info\['is_success'\].*task.gymnasium.success"
    ):
        play(a_task("SilentShelf-v0"))


def test_the_error_of_a_task_in_a_process_is_that_of_the_task(monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers are forked from this process, which has registered the task."""
    monkeypatch.setattr("actor.simulators.processes.start_method", lambda preloaded: "fork")
    envs = make_environment(a_task("SilentShelf-v0"), "physx_cpu", 2, seed=0, processes=1)
    envs.reset()
    with pytest.raises(UnplayableError, match="reports no info"):
        for _ in range(3):
            envs.step(torch.zeros(2, 2))
    envs.close()


@pytest.mark.parametrize("name", ["pendulum", pytest.param("fetch_push", marks=needs_fetch)])
def test_an_episode_is_made_again_by_its_seed_alone(name: str) -> None:
    task = make_config(f"task={name}").task
    used, fresh = (single_environment(task, 0, 1) for _ in range(2))
    generator = np.random.default_rng(0)
    actions = generator.uniform(-1, 1, (30, *used.action_space.shape)).astype(np.float32)
    used.reset(seed=1)
    for action in actions:
        used.step(action)
    assert np.array_equal(used.reset(seed=2)[0], fresh.reset(seed=2)[0])
    for action in actions:
        (row, *rest), (other, *others) = used.step(action), fresh.step(action)
        assert np.array_equal(row, other) and rest == others


def test_dimensions_of_a_task_that_no_table_knows_are_asked_in_a_process() -> None:
    assert dimensions_of(a_task("MountainCarContinuous-v0", success="terminated")) == (2, 1)


@needs_fetch
@pytest.mark.parametrize("name", ["fetch_reach", "fetch_push", "fetch_slide", "fetch_pick_and_place"])
def test_the_table_knows_the_dimensions_of_fetch(name: str) -> None:
    task = make_config(f"task={name}").task
    known = spaces_of(task)
    assert known.layout is not None
    assert [*known.layout.items()] == [*state_layout(task).layout.items()]
    assert known.action_dim == state_layout(task).action_dim


@pytest.mark.parametrize(
    ("space", "says"),
    [
        (spaces.Box(-np.inf, np.inf, (3,)), r"unbounded action space: dimension 0 is in \[-inf, inf\]"),
        (spaces.Box(np.array([-1, 0.0]), np.array([1, np.inf])), "unbounded action space: dimension 1"),
        (spaces.Discrete(4), "of the kind Discrete"),
        (spaces.Box(0, 5, (2,), np.int64), "of the kind Box of int64"),
        (spaces.Dict({"one": spaces.Box(-1, 1)}), "of the kind Dict"),
    ],
)
def test_actions_without_bounds_or_of_another_kind_are_refused(space: spaces.Space, says: str) -> None:
    with pytest.raises(UnplayableError, match=f"task.env_id=Odd-v0 .*{says}"):
        ActionScale(space, "Odd-v0")


def test_an_observation_that_is_neither_numbers_nor_pictures_names_its_part() -> None:
    with pytest.raises(UnplayableError, match="of the kind Discrete in a/b"):
        StateRow(spaces.Dict({"a": spaces.Dict({"b": spaces.Discrete(2)})}), "Odd-v0")


def test_pictures_where_state_is_asked_are_refused_by_name() -> None:
    shown = spaces.Dict({"arm": spaces.Box(-1, 1, (2,)), "eye": spaces.Box(0, 255, (8, 8, 3), np.uint8)})
    gymnasium.register("Eyes-v0", lambda: _with_space(shown))
    try:
        with pytest.raises(
            UnplayableError, match=r"Eyes-v0 has pictures in its observation \(eye\).*task.obs=state"
        ):
            single_environment(a_task("Eyes-v0"), 0, 1)
    finally:
        del gymnasium.registry["Eyes-v0"]


def _with_space(space: spaces.Space) -> gymnasium.Env:
    made = Shelf()
    made.observation_space = space
    return made


@pytest.mark.parametrize(
    ("task", "says"),
    [
        (a_task("Pendulm-v1"), "task.env_id=Pendulm-v1 is not in gymnasium's registry.*Pendulum"),
        (a_task("Pendulum-v99"), "task.env_id=Pendulum-v99 is not in gymnasium's registry.*v1"),
        (a_task(package="no_such_package"), "needs no_such_package .*install it"),
    ],
)
def test_a_task_that_does_not_exist_is_one_line(task: TaskConfig, says: str) -> None:
    with pytest.raises(TaskError, match=says) as refused:
        require(task, draws=False)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("found", "says"),
    [
        ("4.0.0", f"does not run with mujoco 4.0.0, only with one below 3.4: {INSTALL}"),
        (None, f"needs mujoco: {INSTALL}"),
    ],
)
def test_mujoco_that_fetch_does_not_run_with_is_named(
    found: str | None, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def version(package: str) -> str:
        if found is None:
            raise importlib.metadata.PackageNotFoundError(package)
        return found

    monkeypatch.setattr(importlib.metadata, "version", version)
    with pytest.raises(TaskError, match=says):
        require(make_config("task=fetch_push").task, draws=False)


def test_a_backend_of_maniskill_is_refused() -> None:
    with pytest.raises(TaskError, match="actor.backend=physx_cuda is a backend of ManiSkill.*physx_cpu"):
        make_environment(PENDULUM, "physx_cuda", 1, seed=0)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["task=pick_cube", "task.simulator=gymnasium"], "gymnasium must be given"),
        (
            ["task=pendulum", "task.simulator=maniskill"],
            "gymnasium must be given for simulator=gymnasium alone",
        ),
        (["task=pendulum", "task.control_mode=pd_ee_delta_pose"], "control_mode must be scaled"),
        (["task=pendulum", "task.gymnasium.success=is_success"], "success_reward must be"),
        (["task=pendulum", "task.reward_mode=normalized_dense"], "reward_mode must be sparse or own"),
        (["task=pendulum", "task.obs=both"], "obs must be state where cameras"),
    ],
)
def test_settings_that_do_not_go_together_are_refused_by_their_key(words: list[str], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        make_config(*words)


@needs_fetch
def test_pictures_change_nothing_in_an_episode(drawing: None) -> None:
    blind = make_config("task=fetch_push").task
    seeing = make_config("task=fetch_push", "task.obs=both", "task.cameras=[render,external_camera_0]").task
    envs = [single_environment(task, 5, 1) for task in (blind, seeing)]
    row, seen = (env.reset()[0] for env in envs)
    generator = np.random.default_rng(0)
    for _ in range(8):
        action = generator.uniform(-1, 1, 4).astype(np.float32)
        row, seen = (env.step(action)[0] for env in envs)
        assert np.array_equal(row, seen["state"])
    shown = [seen["render"], seen["external_camera_0"]]
    assert all(image.shape == (64, 64, 3) and image.dtype == np.uint8 for image in shown)
    assert shown[0].std() > 5 and not np.array_equal(*shown)
    for env in envs:
        env.close()


SCENE = """
<mujoco><worldbody>
  <geom type="plane" size="9 9 1"/> <geom type="box" size=".1 .1 .2"/>
  <camera name="above" pos="0 0 1.5"/> <camera name="odd_depth"/>
  <camera name="sky" pos="0 0 1.5" xyaxes="1 0 0 0 -1 0"/>
</worldbody></mujoco>
"""


@needs_fetch
def test_depth_is_the_distance_along_a_cameras_axis_in_millimetres(drawing: None) -> None:
    import mujoco

    model = mujoco.MjModel.from_xml_string(SCENE)  # pyright: ignore
    own = SimpleNamespace(default_cam_config=None, camera_id=-1)
    task: Any = SimpleNamespace(model=model, data=mujoco.MjData(model), mujoco_renderer=own)  # pyright: ignore
    task.unwrapped = task
    drawn = mujoco_pictures.MujocoPictures(task, (48, 32))
    mujoco.mj_forward(model, task.data)  # pyright: ignore
    assert drawn.names == ["render", "above", "sky", "render_depth", "above_depth", "sky_depth"]
    drawn.look()
    seen, sky = drawn.picture("above_depth"), drawn.picture("sky_depth")
    assert seen.shape == (32, 48, 1) and seen.dtype == np.uint16
    # The box's top is 0.2 m above the plane. Beside the box it is the plane everywhere: no ray is longer.
    assert abs(int(seen[16, 24, 0]) - 1300) <= 1
    assert np.abs(seen[:, [0, -1]].astype(int) - 1500).max() <= 1
    assert (sky == 65535).all() or sky.min() > 30000
    drawn.close()


@needs_fetch
def test_depth_comes_beside_the_same_colours_from_all_simulators(drawing: None) -> None:
    words = ("task=fetch_push", "task.max_episode_steps=2")
    task = make_config(*words, "task.cameras=[render,render_depth]").task
    colours = make_config(*words, "task.cameras=[render]").task
    both, plain = (make_environment(each, "physx_cpu", 2, seed=3, processes=1) for each in (task, colours))
    try:
        assert torch.equal(both.reset(), plain.reset())
        for _ in range(3):
            step, other = (envs.step(torch.full((2, 4), 0.5)) for envs in (both, plain))
            assert torch.equal(step.images["render"], other.images["render"])
            for images in (step.images, step.final_images):
                distances = images["render_depth"]
                assert distances.shape == (2, 64, 64, 1) and distances.dtype == torch.int16
                near = distances.numpy().view(np.uint16).min()
                assert 500 < near < 2500, "the table is two metres away"
    finally:
        both.close()
        plain.close()


def test_depth_of_a_task_that_draws_none_is_refused_with_what_it_draws() -> None:
    task = make_config("task=pendulum", "task.cameras=[render_depth]").task
    with pytest.raises(TaskError, match=r"it has the cameras \['render'\], not \['render_depth'\]"):
        single_environment(task, 0, 1)


@needs_fetch
def test_pixels_are_pictures_beside_one_zero(drawing: None) -> None:
    task = make_config("task=fetch_push", "task.obs=pixels", "task.cameras=[render]").task
    env = single_environment(task, 0, 1)
    seen, _ = env.reset()
    assert seen["state"].tolist() == [0] and seen["render"].any() and dimensions_of(task) == (1, 4)
    env.close()


@needs_fetch
def test_a_camera_that_the_task_lacks_is_refused_with_those_it_has(drawing: None) -> None:
    for camera in ("nose", "nose_depth"):
        task = make_config("task=fetch_push", f"task.cameras=[{camera}]").task
        with pytest.raises(TaskError, match=rf"it has the cameras \['render', .*not \['{camera}'\]"):
            single_environment(task, 0, 1)


@needs_fetch
def test_without_a_library_that_draws_pictures_are_refused_in_one_line(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("MUJOCO_GL", raising=False)
    monkeypatch.setattr(mujoco_pictures, "_DRAWS", "raise SystemExit(1)")
    mujoco_pictures.choose_gl.cache_clear()
    mujoco_pictures._draws.cache_clear()
    with pytest.raises(RenderError, match="neither EGL nor OSMesa draws here: apt-get install libosmesa6"):
        require(make_config("task=fetch_push", "task.cameras=[render]").task, draws=False)
    mujoco_pictures._draws.cache_clear()


@needs_fetch
def test_a_library_that_mujoco_cannot_load_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(name: str) -> None:
        raise AttributeError(f"'NoneType' object has no attribute 'glGetError', in {name}")

    monkeypatch.setenv("MUJOCO_GL", "osmesa")
    monkeypatch.setattr(mujoco_pictures, "_DRAWS", "raise SystemExit(1)")
    monkeypatch.setattr("importlib.import_module", fails)
    mujoco_pictures._draws.cache_clear()
    with pytest.raises(RenderError, match="MUJOCO_GL=osmesa does not draw here: unset it"):
        require(make_config("task=fetch_push").task, draws=False)
    mujoco_pictures._draws.cache_clear()


def test_a_library_that_the_environment_names_and_that_does_not_draw_is_one_line(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MUJOCO_GL", "osmesa")
    monkeypatch.setattr(mujoco_pictures, "_DRAWS", "raise SystemExit(1)")
    for function in (mujoco_pictures.choose_gl, mujoco_pictures._draws):
        function.cache_clear()
    with pytest.raises(RenderError, match="MUJOCO_GL=osmesa does not draw here: unset it"):
        mujoco_pictures.require_gl()
    for function in (mujoco_pictures.choose_gl, mujoco_pictures._draws):
        function.cache_clear()


def test_a_package_whose_code_fails_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "fails_at_once.py").write_text("raise RuntimeError('no licence')")
    monkeypatch.syspath_prepend(tmp_path)
    says = "task.gymnasium.package=fails_at_once cannot be imported: no licence"
    with pytest.raises(TaskError, match=says):
        require(a_task(package="fails_at_once"), draws=False)
