"""A run whose update is not finite ends in one line, names the rows, and goes on from its last checkpoint."""

import json
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from actor.link.uplink import Uplink
from actor.policy.checkpoint_file import read_checkpoint
from actor.policy.finite import non_finite_value
from actor.policy.make import make_base
from actor.policy.residual import ResidualActor
from actor.policy.spec import experience_spec
from config.compose import compose_config
from config.main import Config
from config.process import StopRequest, one_line
from learner import make, run
from learner.algorithms.finite import NonFiniteError
from learner.broadcast import Broadcast
from learner.intake.intake import Intake
from learner.replay.memory.ring import Ring
from protocol.experience import zeros
from protocol.messages import BASE_ALONE
from tests.support.helpers import make_config
from tests.support.runs import wait_for

NAN = float("nan")


@pytest.fixture
def config(tmp_path: Path, free_ports: tuple[int, int]) -> Config:
    shutil.copy("bases/PickCube-v1/demos.h5", tmp_path)
    return compose_config(
        [
            f"runs_dir={tmp_path}", "name=run", "base=zero", f"learner.demos={tmp_path / 'demos.h5'}",
            "algo.hidden=[8]", "algo.critics=2", "algo.batch_size=32", "algo.learning_starts=8",
            "algo.critic_warmup_updates=2000", "algo.relations=[]", "learner.wandb.mode=disabled",
            "learner.checkpoint_every_s=0.01", "learner.replay_capacity=1000",
            "learner.threads=1", "wire.heartbeat_s=0.1",
            f"wire.experience_port={free_ports[0]}", f"wire.weights_port={free_ports[1]}",
        ]
    )  # fmt: skip


def saved(config: Config, name: str = "training.pt") -> dict[str, Any]:
    return read_checkpoint(config.run_dir / "checkpoints" / name)


def acting(config: Config, then: Callable[[], None], ended: threading.Event) -> threading.Thread:
    """An actor that plays one episode, and then does what it is told."""

    def act() -> None:
        spec = experience_spec(config, make_base(config.base, config.task, "cpu"))
        columns = zeros(spec, rows=16, ends=1)
        columns["frames"][:], columns["decision"][:] = spec.residual_every, range(16)
        columns["truncated"][-1], columns["final_row"][:] = True, 15
        uplink = Uplink(config.wire, actor_id="peg-03", role="actor", spec=spec, stop=ended)
        uplink.connect()
        uplink.send(columns)
        while uplink.durable < 1 and not ended.is_set():
            uplink.pump()
        then()
        uplink.close()

    thread = threading.Thread(target=act)
    thread.start()
    return thread


@pytest.fixture
def diverged(config: Config, monkeypatch: pytest.MonkeyPatch) -> str:
    """The line that a run ended with whose prior data got NaN after its first checkpoint: in both ends of the
    second transition of the first episode."""
    rings: list[Ring] = []
    made = make.make_prior_ring
    monkeypatch.setattr(make, "make_prior_ring", lambda *words: rings.append(made(*words)) or rings[-1])

    def spoil() -> None:
        wait_for((config.run_dir / "checkpoints" / "training.pt").exists)
        rings[0].rows.block[1, 3] = NAN

    ended = threading.Event()
    actor = acting(config, spoil, ended)
    try:
        with pytest.raises(NonFiniteError) as error:
            run.run_learner(config, StopRequest())
    finally:
        ended.set()
        actor.join()
        monkeypatch.undo()
    return one_line(error.value)


def train_on(config: Config, updates: int) -> None:
    """Resume the run, and stop it once a checkpoint of more than `updates` updates is there."""
    stop = StopRequest()

    def watch() -> None:
        wait_for(lambda: saved(config)["algorithm"]["updates"] > updates)
        stop.set()

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        run.run_learner(config, stop)
    finally:
        stop.set()
        watcher.join()


def test_it_ends_with_what_and_where_from_and_with_mended_data_it_goes_on(
    config: Config, diverged: str
) -> None:
    described = json.loads((config.run_dir / "checkpoints" / "non_finite.json").read_text())
    assert diverged.startswith(
        f"update {described['update']}: the critic's loss is nan; the step was not made"
    )
    assert "observation[3] = nan from " in diverged
    assert "demos.h5, episode 0, decision 1; all its rows are in " in diverged
    assert diverged.endswith("the same command then goes on from the last checkpoint")
    [value, *_] = described["values"]
    row = described["rows"][value["row"]]
    side = "end" if value["field"].startswith("next_") else "start"
    assert (row[side]["episode"], row[side]["decision"]) == (0, 1)
    assert len(described["rows"]) == 32
    online = [each["start"] for each in described["rows"] if "actor" in each["start"]]
    assert len(online) == 16 and {each["actor"] for each in online} == {"peg-03"}
    assert {each["decision"] for each in online} <= set(range(16)) and online[0]["session"] > 0
    assert {each["dataset_episode"] for each in online} == {0}
    # What is on disk is from before.
    before = saved(config)["algorithm"]["updates"]
    assert 0 < before < described["update"]
    assert all(
        non_finite_value(saved(config, name)) is None for name in ("training.pt", "newest.safetensors")
    )
    train_on(config, before + 8)
    assert saved(config)["algorithm"]["updates"] > before + 8


def test_weights_that_are_not_finite_are_not_published() -> None:
    actor, published = ResidualActor(make_config().algo, 3, 2), []
    broadcast = Broadcast(cast(Intake, SimpleNamespace(publish=published.append)))
    actor.head.bias.data[0] = NAN
    with pytest.raises(NonFiniteError, match=r"nothing is published: head\.bias\[0\] is nan"):
        broadcast.publish(actor.state_dict(), BASE_ALONE, now_s=0.0)
    assert published == [] and broadcast.version == 0
