"""A row followed from the environment to the gradient and back; a replay equal to what was seen."""

import json
import subprocess
import sys
import threading
import time

import msgspec
import numpy as np
import pytest
import torch

from actor.link.uplink import Uplink
from actor.link.weights import adopt_newest
from actor.policy.spec import experience_spec
from actor.simulators.contract import Step
from actor.simulators.make import make_environment
from learner.intake.intake import Intake
from learner.replay.dataset.store import LeRobotStore
from tests.support.fakes import CountingBase, ScriptedEnvironment
from tests.support.helpers import make_config, make_policy, make_rollout

FAST = (
    "algo.residual_every=2", "algo.n_step=1", "algo.batch_size=32", "algo.prior_fraction=0.0",
    "algo.critic_warmup_updates=0", "algo.actor_delay=1",
    "algo.scale_observations=off",
)  # fmt: skip


@pytest.fixture
def ports(free_ports):
    return [f"wire.experience_port={free_ports[0]}", f"wire.weights_port={free_ports[1]}"]


def connect(config, base, actor_id="actor-0"):
    stop = threading.Event()
    uplink = Uplink(
        config.wire, actor_id=actor_id, role="actor", spec=experience_spec(config, base), stop=stop
    )
    uplink.connect()
    return uplink


def until(fact, timeout_s=30.0):
    deadline = time.monotonic() + timeout_s
    while not (found := fact()):
        assert time.monotonic() < deadline, "it never happened"
        time.sleep(0.01)
    return found


def test_one_row_goes_from_the_environment_to_the_gradient_and_comes_back_as_weights(
    tmp_path, ports, repository
):
    overrides = [*FAST, *ports]
    config, base = make_config(*overrides), CountingBase()
    # Sub-environment 1, first episode, frame 4: decision 2, and by ScriptedEnvironment observation 104.
    report = tmp_path / "report.json"
    child = subprocess.Popen(
        [sys.executable, "-m", "tests.system.learner_child", "104", str(report), *overrides], cwd=repository
    )
    uplink = connect(config, base)
    try:
        policy = make_policy(base, config, 1, 2)
        first = until(lambda: adopt_newest(uplink, policy) or uplink.pump())
        assert first.version == 1
        before = policy._residual.head.weight.clone()
        rollout = make_rollout(ScriptedEnvironment([[9]]), policy, 2)
        for _ in range(28):
            rollout.step()
        sent = rollout.take()
        uplink.send(sent)
        second = until(lambda: adopt_newest(uplink, policy) or uplink.pump())
        seen = until(lambda: report.exists() and json.loads(report.read_text()))
    finally:
        uplink.close()
        child.wait(timeout=60)
    row = 2
    assert sent["observation"][row, 0, 0] == seen["observation"][0] == 104.0
    assert seen["next_observation"][0] == 106.0
    assert seen["reward"] == 4.0 + 5.0
    np.testing.assert_array_equal(sent["residual"][row].ravel(), np.float32(seen["residual"]))
    np.testing.assert_array_equal(sent["base_plan"][row].ravel(), np.float32(seen["base_plan"]))
    assert seen["gradient"] > 0
    assert second.version == 2 and policy.weights_version == 2
    assert not torch.equal(before, policy._residual.head.weight)
    np.testing.assert_array_equal(
        policy._residual.head.weight.detach().flatten().numpy(), np.float32(seen["head_weight"])
    )
    # The decision that was under way keeps its version; the next one carries the new.
    while rollout.rows < 2:
        rollout.step()
    assert rollout.take()["weights_version"].tolist() == [1, 2]
    assert child.returncode == 0


class Recording:
    """A real environment that writes down every frame, by itself, as the actor sees it."""

    def __init__(self, envs):
        self._envs = envs
        self.num_envs, self.observation_dim = envs.num_envs, envs.observation_dim
        self.action_dim, self.images = envs.action_dim, envs.images
        self.episodes, self._going = [], [[] for _ in range(envs.num_envs)]

    def reset(self, seed=None):
        self._newest = self._envs.reset(seed)
        return self._newest

    def step(self, action) -> Step:
        step = self._envs.step(action)
        for i in range(self.num_envs):
            self._going[i].append(
                (self._newest[i].clone(), action[i].clone(), float(step.reward[i]), bool(step.success[i]))
            )
            if step.ended[i]:
                self.episodes.append((i, self._going[i]))
                self._going[i] = []
        self._newest = step.observation
        return step


@pytest.mark.parametrize("every", [1, 4])
def test_the_replay_holds_what_the_actor_saw_in_real_simulators(tmp_path, ports, every):
    from lerobot.datasets.lerobot_dataset import LeRobotDataset

    config = make_config(*ports, f"algo.residual_every={every}")
    task = msgspec.structs.replace(config.task, max_episode_steps=7)
    base = CountingBase(observation_dim=42, action_dim=7)
    intake = Intake(config.wire, experience_spec(config, base), queue_rows=1000)
    intake.start()
    real = make_environment(task, "physx_cpu", 2, seed=3)
    uplink = connect(config, base)
    try:
        envs = Recording(real)
        rollout = make_rollout(envs, make_policy(base, config, 2, every), every)
        with LeRobotStore(
            tmp_path / "replay", repo_id="test/replay", observation_dim=42, action_dim=7, fps=20,
            robot_type="panda", task=task.env_id, queue_episodes=16, flush_s=0.1,
        ) as store:  # fmt: skip
            rows = 0
            for _ in range(5):
                for _ in range(5):
                    rollout.step()
                rows += rollout.rows
                uplink.send(rollout.take())
            while rows:
                uplink.pump()
                for received in intake.drain(timeout_s=1.0):
                    rows -= len(received.columns["frames"])
                    store.add(received.actor_id, received.session, received.columns)
    finally:
        uplink.close()
        real.close()
        intake.close()
    dataset = LeRobotDataset("test/replay", root=tmp_path / "replay")
    assert dataset.num_episodes == len(envs.episodes)
    assert len(envs.episodes) >= 6
    for number, (sub_env, frames) in enumerate(envs.episodes):
        rows = [
            dataset[i] for i in range(len(dataset)) if int(dataset.hf_dataset[i]["episode_index"]) == number
        ]
        assert len(rows) == len(frames)
        for row, (observation, action, reward, success) in zip(rows, frames, strict=True):
            assert torch.equal(row["observation.state"], observation)
            assert torch.equal(row["action"], action)
            assert float(row["next.reward"]) == reward and bool(row["next.success"]) == success
            assert int(row["sub_env"]) == sub_env
        assert [bool(row["next.done"]) for row in rows] == [False] * (len(frames) - 1) + [True]
