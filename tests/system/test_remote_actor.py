"""An actor that knows the learner's address alone, beside the learner and in a second network namespace."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
import torch

from actor.link.uplink import UplinkError
from actor.policy.contract import BasePolicy, CheckpointError
from actor.policy.make import make_base
from actor.remote import run_remote_actor
from config.compose import compose_config
from config.main import Config
from config.process import UsageError, one_line
from config.shared import describe_run
from config.wire import WireConfig
from protocol.arrays import Limits
from protocol.channel.learner import LearnerChannel
from protocol.channel.sockets import Endpoint
from protocol.messages import PROTOCOL_VERSION
from tests.support.helpers import left_running
from tests.support.namespaces import THERE, enter, refusal
from tests.support.runs import TIMEOUT_S, points, wait_for
from tests.support.wire import learning, make_wire

LEARNER = ("task=stack_cube", "algo.residual_scale=0.07", "name=elsewhere")
SMALL = ("actor.num_envs=2", "actor.rows_per_batch=8", "actor.spool=null")


@pytest.mark.timeout(300)
def test_an_actor_needs_the_address_alone(
    tmp_path: Path, free_ports: tuple[int, int], repository: Path
) -> None:
    settings = [
        *LEARNER, f"wire.experience_port={free_ports[0]}", f"wire.weights_port={free_ports[1]}",
        f"runs_dir={tmp_path}", "learner.wandb.mode=disabled", "learner.log_every_s=0.5",
        "learner.demos=null", "algo.prior_fraction=0",
    ]  # fmt: skip
    words = [f"tcp://127.0.0.1:{free_ports[0]}", f"wire.weights_port={free_ports[1]}", *SMALL]
    learner, actor = (
        subprocess.Popen(
            [sys.executable, "-m", *command],
            cwd=repository, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            start_new_session=True,
        )
        for command in (["learner", *settings], ["launch", "actor", *words])
    )  # fmt: skip
    try:
        run_dir = tmp_path / "elsewhere"
        wait_for(lambda: points(run_dir) and points(run_dir)[-1]["decisions"] >= 8, learner, actor)
        actor.send_signal(signal.SIGINT)
        said, _ = actor.communicate(timeout=TIMEOUT_S)
        assert actor.returncode == 0, said
        assert "the learner runs elsewhere: task stack_cube, base bases/StackCube-v1" in said
        assert learner.poll() is None
        assert not left_running(actor.pid)
    finally:
        for process in (learner, actor):
            process.kill()
            process.communicate()


@pytest.fixture
def wire(free_ports: tuple[int, int]) -> WireConfig:
    return make_wire(free_ports)


@pytest.fixture
def refused(wire: WireConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """The line with which an actor ends that knows the address alone, on a host with a folder of its own."""
    monkeypatch.setattr(os, "nice", lambda increment: 0)
    monkeypatch.setattr(torch, "set_num_threads", lambda count: None)
    monkeypatch.chdir(tmp_path)

    def refuse(*words: str) -> str:
        address = f"tcp://{wire.host}:{wire.experience_port}"
        overrides = [
            f"wire.weights_port={wire.weights_port}", "wire.heartbeat_s=0.1", "wire.lease_s=0.5",
            "wire.connect_timeout_s=5", *SMALL, *words,
        ]  # fmt: skip
        with pytest.raises((CheckpointError, UplinkError, UsageError)) as error:
            run_remote_actor(address, None, overrides, threading.Event())
        line = one_line(error.value)
        assert line.isprintable()
        return line

    return refuse


@pytest.fixture(scope="module")
def stack_cube(repository: Path) -> tuple[Config, BasePolicy]:
    config = compose_config([*LEARNER, f"base.path={repository / 'bases' / 'StackCube-v1'}"])
    return config, make_base(config.base, config.task, "cpu")


@pytest.fixture
def described(stack_cube: tuple[Config, BasePolicy]) -> dict[str, Any]:
    """The run of a learner whose base is in a relative folder, which the actor's host lacks."""
    config, base = stack_cube
    run = describe_run(config, base.fingerprint)
    return run | {"base": run["base"] | {"path": "bases/StackCube-v1"}}


def says_what_to_copy(line: str, described: dict[str, Any]) -> bool:
    source = f"<learner host>:{described['base_folder']}"
    return described["base_fingerprint"][:12] in line and f"scp -r {source} bases/" in line


def test_a_base_that_the_host_lacks_is_named_with_what_to_copy(
    wire: WireConfig, refused: Callable[..., str], described: dict[str, Any]
) -> None:
    with learning(wire, run=described):
        line = refused()
        assert "this host has no base at bases/StackCube-v1" in line
        assert says_what_to_copy(line, described)
        line = refused("base.path=mine")
        assert "this host has no base at mine" in line and "base.path=<its folder here>" in line


def test_a_base_with_other_weights_is_named_with_both_hashes(
    wire: WireConfig, refused: Callable[..., str], described: dict[str, Any], tmp_path: Path
) -> None:
    shutil.copytree(described["base_folder"], tmp_path / "bases" / "StackCube-v1")
    weights = tmp_path / "bases" / "StackCube-v1" / "checkpoints" / "best.pt"
    content = torch.load(weights, weights_only=True)
    content["ema_agent"]["noise_pred_net.final_conv.1.bias"] += 0.5
    torch.save(content, weights)
    with learning(wire, run=described):
        line = refused()
    assert "the base at bases/StackCube-v1 on this host has the fingerprint " in line
    assert says_what_to_copy(line, described)
    [here] = re.findall("on this host has the fingerprint ([0-9a-f]{12});", line)
    assert here not in described["base_fingerprint"]


def test_a_base_that_does_not_fit_is_named_with_what_to_copy(
    wire: WireConfig, refused: Callable[..., str], described: dict[str, Any], repository: Path
) -> None:
    with learning(wire, run=described):
        line = refused(f"base.path={repository / 'bases' / 'PickCube-v1'}")
    assert "takes 42 observation dimensions" in line and "the task has 48" in line
    assert says_what_to_copy(line, described)


def test_an_override_that_belongs_to_the_learner_is_refused_before_anything_connects(
    refused: Callable[..., str],
) -> None:
    assert refused("task=pick_cube", "algo.gamma=0.9").startswith(
        "task, algo.gamma: this comes from the learner"
    )


def test_a_malformed_description_is_one_line(
    wire: WireConfig, refused: Callable[..., str], described: dict[str, Any]
) -> None:
    with learning(wire, run=described | {"seed": "a\nb"}):
        assert "the learner sent a configuration that cannot be used: " in (line := refused())
        assert "`$.seed`" in line
    with learning(wire, run={}):
        assert "the learner sent a configuration that cannot be used: " in refused()


def test_a_learner_that_does_not_describe_its_run_is_one_line(
    wire: WireConfig, refused: Callable[..., str]
) -> None:
    with learning(wire):
        assert "this learner does not tell what it trains" in refused()


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        ([99, {"kind": "welcome"}], f"protocol version 99, this side speaks {PROTOCOL_VERSION}: install"),
        # A learner that speaks version 4 cannot read the question.
        (
            [4, {"kind": "refused", "reason": "protocol version 5, this side speaks 4"}],
            "refused: protocol version 5",
        ),
    ],
)
def test_a_learner_of_another_protocol_version_is_one_line(
    answer: list[Any], says: str, wire: WireConfig, refused: Callable[..., str]
) -> None:
    with answering(wire, [msgspec.msgpack.encode(answer)]):
        assert says in refused()


def test_without_a_learner_an_actor_gives_up_or_is_stopped(
    wire: WireConfig, refused: Callable[..., str]
) -> None:
    assert "no learner answers" in refused("wire.connect_timeout_s=0.3")
    stopped = threading.Event()
    stopped.set()
    run_remote_actor(f"tcp://{wire.host}:{wire.experience_port}", None, [], stopped)


@contextmanager
def answering(wire: WireConfig, frames: list[bytes]) -> Iterator[None]:
    """Somebody at the learner's ports who answers everything with `frames`."""
    limits = msgspec.convert(wire, Limits, from_attributes=True)
    channel = LearnerChannel(msgspec.convert(wire, Endpoint, from_attributes=True), limits)
    over = threading.Event()

    def answer() -> None:
        while not over.is_set():
            channel.wait(0.05)
            for arrival in channel.receive(8):
                channel.send(arrival.identity, [*frames])

    thread = threading.Thread(target=answer)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        channel.close()


def play(folder: Path, repository: Path, *command: str) -> dict[str, Any]:
    reason = refusal()
    if reason is not None:
        pytest.skip(reason)
    child = enter("tests.system.remote_actor_child", [str(folder), str(repository), *command])
    output, _ = child.communicate(timeout=300)
    assert child.returncode == 0, output[-3000:]
    return json.loads(output.splitlines()[-1])


def assert_only_the_key_opens(result: dict[str, Any]) -> None:
    assert result["exit_code"] == 0, result["log"]
    assert result["rows"] >= 20
    [(actor_id, address)] = result["peers"]
    assert actor_id.startswith("actor-")
    assert address == THERE
    assert result["stranger_code"] != 0
    assert "wire.keys_dir" in result["stranger_says"]
    assert result["peers_at_the_end"] == 1
    assert result["turned_away"] > 0


def test_an_actor_with_a_key_works_from_another_namespace_and_one_without_does_not(
    tmp_path: Path, repository: Path
) -> None:
    result = play(tmp_path, repository, sys.executable, "-m", "launch", "actor")
    assert_only_the_key_opens(result)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_clone_with_the_actor_extra_alone_is_enough(tmp_path: Path, repository: Path) -> None:
    reason = refusal()
    if reason is not None:
        pytest.skip(reason)
    clone = tmp_path / "clone"
    subprocess.run(["git", "clone", "--quiet", str(repository), str(clone)], check=True)
    subprocess.run(["bash", "launch/setup_env.sh", "actor"], cwd=clone, check=True)
    absent = "import importlib.util as u, sys; sys.exit(any(map(u.find_spec, ['lerobot', 'wandb'])))"
    subprocess.run([clone / ".venv" / "bin" / "python", "-c", absent], check=True)
    result = play(tmp_path, clone, "bash", "launch/actor.sh")
    assert_only_the_key_opens(result)
