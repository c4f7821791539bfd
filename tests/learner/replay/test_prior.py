"""Prior data: the base's plans along recorded episodes, and the residual that reproduces them."""

from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

import msgspec
import numpy as np
import pytest
import torch
import yaml

from actor.policy.make import make_base
from actor.policy.spec import experience_spec
from config.main import Config
from learner.replay.dataset.store import LeRobotStore
from learner.replay.prior.demonstration import Demonstration
from learner.replay.prior.error import DemonstrationError
from learner.replay.prior.maniskill import write_maniskill
from learner.replay.prior.origin import SPEC_FILE
from learner.replay.run import load_prior, make_prior_ring
from tests.support.fakes import CountingBase, ScriptedEnvironment
from tests.support.helpers import collect, make_config, make_policy, make_rollout
from tests.support.ring import check_ring

# A plan is (first observation number) / 1000 + frame of the plan / 100, and a residual reaches 0.1.
WORDS = ("algo.residual_every=4", "algo.residual_scale=0.1", "algo.prior_fraction=0.5")


@pytest.fixture(autouse=True)
def no_hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")


def episode(first: float, actions: list[float]) -> Demonstration:
    """Observation numbers count up from `first`; the last action succeeds."""
    frames = len(actions)
    observations = np.zeros((frames + 1, 3), np.float32)
    observations[:, 0] = first + np.arange(frames + 1)
    return Demonstration(
        observations,
        np.repeat(np.array(actions, np.float32)[:, None], 2, axis=1),
        np.arange(frames) == frames - 1,
    )


def prior_config(*sources: Path, more: tuple[str, ...] = ()) -> Config:
    return make_config(*WORDS, f"learner.demos=[{','.join(map(str, sources))}]", *more)


def test_residual_reproduces_the_recorded_action_and_what_was_clipped_is_counted(tmp_path: Path) -> None:
    # Plans: .10, .11, .12, .13 from the first frame on, .104, .114 from the fifth.
    write_maniskill(tmp_path / "demos.h5", [episode(100, [0.10, 0.16, 0.02, 0.43, 0.104, 0.064])])
    prior = load_prior(prior_config(tmp_path / "demos.h5"), CountingBase())
    assert prior is not None
    columns = prior.columns
    assert columns["frames"].tolist() == [4, 2] and columns["terminated"].tolist() == [False, True]
    np.testing.assert_allclose(
        columns["base_plan"][:, :, 0], [[0.10, 0.11, 0.12, 0.13], [0.104, 0.114, 0.124, 0.134]], atol=1e-6
    )
    np.testing.assert_allclose(columns["residual"][:, :, 0], [[0, 0.5, -1, 1], [0, -0.5, 0, 0]], atol=1e-5)
    # -1 was exact, 3 was not: one of six.
    assert prior.clipped_share == pytest.approx(1 / 6)
    assert columns["reward"].sum() == 1.0 and columns["reward"][1, 1] == 1.0


def test_without_a_base_the_whole_action_of_a_demonstration_is_the_residual(tmp_path: Path) -> None:
    write_maniskill(tmp_path / "demos.h5", [episode(100, [0.9, -0.5, 0.25, 1.0, -1.0])])
    config = make_config("algo=rlpd", "base=zero", "task.sizes=[3, 2]", f"learner.demos={tmp_path}/demos.h5")
    prior = load_prior(config, make_base(config.base, config.task, "cpu"))
    assert prior is not None and prior.clipped_share == 0
    assert not prior.columns["base_plan"].any() and not prior.columns["final_base_plan"].any()
    residual = prior.columns["residual"][:, :, 0]
    np.testing.assert_array_equal(residual, np.float32([[0.9, -0.5, 0.25, 1.0], [-1.0, 0, 0, 0]]))


def test_of_disturbed_demonstrations_what_was_executed_is_learned_from(tmp_path: Path) -> None:
    calm = episode(100, [0.10, 0.16, 0.02, 0.08])
    pushed = replace(calm, actions=np.zeros_like(calm.actions), executed=calm.actions)
    columns = []
    for name, shown in (("calm", calm), ("pushed", pushed.cut_at_success())):
        write_maniskill(tmp_path / f"{name}.h5", [shown])
        prior = load_prior(prior_config(tmp_path / f"{name}.h5"), CountingBase())
        assert prior is not None
        columns.append(prior.columns)
    for name in columns[0]:
        np.testing.assert_array_equal(columns[0][name], columns[1][name], err_msg=name)


def test_plans_are_computed_once_for_a_base_and_its_data(tmp_path: Path) -> None:
    demos = tmp_path / "demos.h5"
    write_maniskill(demos, [episode(100, [0.1] * 6), episode(200, [0.2] * 3)])
    base = CountingBase()
    first = load_prior(prior_config(demos), base)
    assert base.planned == 2 + 1 + 1 + 1
    again = load_prior(prior_config(demos), base)
    assert base.planned == 5 and first is not None and again is not None
    for name, column in first.columns.items():
        np.testing.assert_array_equal(column, again.columns[name])
    base.fingerprint = "another"
    load_prior(prior_config(demos), base)
    assert base.planned == 10
    write_maniskill(demos, [episode(300, [0.3] * 6)])
    load_prior(prior_config(demos), base)
    assert base.planned == 13
    assert len(list(tmp_path.glob("demos.plans-another-*.npz"))) == 2


def test_data_where_nobody_may_write_is_used_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_maniskill(tmp_path / "demos.h5", [episode(100, [0.1] * 4)])

    def refuse(*_: object) -> None:
        raise PermissionError("read-only")

    monkeypatch.setattr("learner.replay.prior.plans._write", refuse)
    assert load_prior(prior_config(tmp_path / "demos.h5"), CountingBase()) is not None


def test_a_lerobot_dataset_gives_the_decisions_of_the_file_that_it_was_made_from(tmp_path: Path) -> None:
    from learner.replay.prior.lerobot import write_lerobot

    episodes = [episode(100, [0.1] * 6), episode(200, [0.2] * 4)]
    write_maniskill(tmp_path / "demos.h5", episodes)
    write_lerobot(tmp_path / "dataset", episodes, task="t", robot_type="panda", fps=20)
    one = load_prior(prior_config(tmp_path / "demos.h5"), CountingBase())
    other = load_prior(prior_config(tmp_path / "dataset"), CountingBase())
    assert one is not None and other is not None
    # LeRobot keeps no final observation; nothing bootstraps from that of a success.
    for name in one.columns.keys() - {"final_observation"}:
        np.testing.assert_array_equal(one.columns[name], other.columns[name], err_msg=name)


def test_several_sources_are_one_and_their_episodes_stay_apart(tmp_path: Path) -> None:
    for number in (1, 2):
        write_maniskill(tmp_path / f"{number}.h5", [episode(100 * number, [0.1] * 6)] * number)
    config = prior_config(tmp_path / "1.h5", tmp_path / "2.h5")
    base = CountingBase()
    prior = load_prior(config, base)
    assert prior is not None
    assert prior.columns["episode"].tolist() == [0, 0, 1, 1, 2, 2]
    assert prior.columns["final_row"].tolist() == [1, 3, 5]
    ring = make_prior_ring(prior, config, base)
    check_ring(ring)
    linked = np.flatnonzero(ring.rows.following[: ring.capacity] != ring.rows.unknown)
    steps = ring.observation[ring.rows.following[linked], 0] - ring.observation[linked, 0]
    assert steps.tolist() == [4, 2] * 3


def base_alone(run_dir: Path, config: Config, version: int = 0) -> CountingBase:
    """A run's folder with the replay of three episodes that the base played alone, as its `version`."""
    base, optional = CountingBase(), ("base_version",)
    store = LeRobotStore(
        run_dir / "replay", repo_id="base", observation_dim=3, action_dim=2, fps=20, robot_type="panda",
        task="t", queue_episodes=8, flush_s=3600.0, optional_columns=optional,
    )  # fmt: skip
    policy = make_policy(base, config, 1, 4)
    policy.base_version, policy._bases = version, {version: base}
    rollout = make_rollout(ScriptedEnvironment([[6]]), policy, 4, optional_columns=optional)
    store.add("a", 0, collect(rollout, 18))
    store.close()
    (run_dir / SPEC_FILE).write_bytes(msgspec.json.encode(experience_spec(config, base)))
    (run_dir / "config.yaml").write_text(yaml.safe_dump(msgspec.to_builtins(config)))
    return base


def test_the_bases_own_rollouts_keep_the_plans_that_were_executed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_dir = tmp_path / "base"
    run_dir.mkdir()
    base = base_alone(run_dir, make_config(*WORDS))
    # A stochastic base would plan something else today.
    monkeypatch.setattr(base, "plan", lambda history, *_: torch.full((len(history), 4, 2), 0.9))
    prior = load_prior(prior_config(run_dir / "replay"), base)
    assert prior is not None and prior.clipped_share == 0.0
    assert not prior.columns["residual"].any()
    np.testing.assert_array_equal(
        prior.columns["base_plan"][0, :, 0], prior.columns["action"][0, :, 0].astype(np.float32)
    )
    assert prior.columns["truncated"].tolist() == [False, True] * 3
    assert (prior.columns["final_base_plan"] == np.float32(0.9)).all()
    assert not list(run_dir.glob("*.npz"))
    base.fingerprint = "another"
    other = load_prior(prior_config(run_dir / "replay"), base)
    assert other is not None and (other.columns["base_plan"] == np.float32(0.9)).all()


def test_plans_of_a_base_that_was_trained_meanwhile_are_not_taken_for_those_of_the_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "run").mkdir()
    base = base_alone(tmp_path / "run", make_config(*WORDS), version=3)
    monkeypatch.setattr(base, "plan", lambda history, *_: torch.full((len(history), 4, 2), 0.9))
    prior = load_prior(prior_config(tmp_path / "run/replay"), base)
    assert prior is not None and (prior.columns["base_plan"] == np.float32(0.9)).all()
    assert prior.columns["action"][0, 0, 0] != np.float32(0.9)


def test_plans_from_chosen_noise_are_not_taken_for_the_bases_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "run").mkdir()
    config = make_config(*WORDS)
    base = base_alone(tmp_path / "run", config)
    steering = msgspec.to_builtins(config)["algo"] | {"kind": "steering"}
    made = msgspec.to_builtins(config) | {"algo": steering}
    (tmp_path / "run/config.yaml").write_text(yaml.safe_dump(made))
    monkeypatch.setattr(base, "plan", lambda history, *_: torch.full((len(history), 4, 2), 0.9))
    prior = load_prior(prior_config(tmp_path / "run/replay"), base)
    assert prior is not None and (prior.columns["base_plan"] == np.float32(0.9)).all()


def test_a_replay_of_another_task_is_refused_unless_a_key_accepts_it(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    base = base_alone(tmp_path / "run", make_config(*WORDS, "task=stack_cube"))
    with pytest.raises(DemonstrationError, match="task StackCube-v1, this is PickCube.*learner.*=accept"):
        load_prior(prior_config(tmp_path / "run/replay"), base)
    accepting = prior_config(tmp_path / "run/replay", more=("learner.demos_of_other_tasks=accept",))
    assert load_prior(accepting, base) is not None
    (tmp_path / "run/spec.json").write_text("{")
    with pytest.raises(DemonstrationError, match="spec.json, which describes demonstrations, is broken"):
        load_prior(accepting, base)


def test_damaged_plans_are_computed_again(tmp_path: Path) -> None:
    write_maniskill(tmp_path / "demos.h5", [episode(100, [0.1] * 6)])
    first = load_prior(prior_config(tmp_path / "demos.h5"), CountingBase())
    [cache] = tmp_path.glob("*.npz")
    whole = cache.read_bytes()
    table = whole.index(b"PK\x01\x02")  # of the zip file: here a version, and whether an entry is encrypted
    odd = [whole[: table + at] + bytes([value]) + whole[table + at + 1 :] for at, value in ((6, 255), (8, 1))]
    for content in (b"", whole[:100], whole[:-30], *odd):
        cache.write_bytes(content)
        again = load_prior(prior_config(tmp_path / "demos.h5"), CountingBase())
        assert first is not None and again is not None
        np.testing.assert_array_equal(first.columns["base_plan"], again.columns["base_plan"])
        assert cache.read_bytes() == whole


def test_a_full_disk_keeps_no_plans_and_no_part_of_them(tmp_path: Path, monkeypatch) -> None:
    write_maniskill(tmp_path / "demos.h5", [episode(100, [0.1] * 6)])

    def full(file: BinaryIO, **_: object) -> None:
        file.write(b"PK")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez", full)
    before = set(tmp_path.iterdir())
    assert load_prior(prior_config(tmp_path / "demos.h5"), CountingBase()) is not None
    assert set(tmp_path.iterdir()) == before


def test_data_of_another_task_is_refused_by_its_dimensions(tmp_path: Path) -> None:
    write_maniskill(tmp_path / "demos.h5", [episode(100, [0.1] * 4)])
    with pytest.raises(DemonstrationError, match="observation_dim 3 and action_dim 2, the task 5"):
        load_prior(prior_config(tmp_path / "demos.h5"), CountingBase(observation_dim=5))
