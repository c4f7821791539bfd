"""algo=collect: a learner that keeps what it is sent, until it has what is wanted."""

import json
import threading
from pathlib import Path

import numpy as np
import pytest
import torch

from actor.link.uplink import Uplink
from actor.policy.checkpoint_file import write_safetensors
from actor.policy.contract import CheckpointError
from actor.policy.from_run import with_residual
from actor.policy.make import make_base
from actor.policy.residual import ResidualActor
from actor.policy.spec import experience_spec
from config.compose import compose_config
from config.main import Config
from config.process import StopRequest
from config.section import ConfigError
from learner.replay.tools.outcomes import read_outcomes
from learner.run import run_learner
from protocol.arrays import Columns
from protocol.experience import ExperienceSpec, zeros
from tests.support.runs import wait_for

SMALL = ("base=zero", "learner.wandb.mode=disabled", "wire.heartbeat_s=0.1", "learner.store_flush_s=0.1")


def make(tmp_path: Path, ports: tuple[int, int], *words: str, name: str = "got") -> Config:
    where = (f"runs_dir={tmp_path}", f"name={name}", f"wire.experience_port={ports[0]}")
    return compose_config(["algo=collect", *SMALL, *where, f"wire.weights_port={ports[1]}", *words])


def episode(spec: ExperienceSpec, number: int, *, success: bool) -> Columns:
    """One of three decisions, every observation of which is its number."""
    columns = zeros(spec, rows=3, ends=1)
    columns["observation"][:], columns["final_observation"][:] = number, number
    columns["frames"][:], columns["decision"][:] = spec.residual_every, range(3)
    columns["episode"][:], columns["final_row"][:] = number, 2
    columns["truncated"][-1], columns["success"][-1, -1] = True, success
    return columns


class Player(threading.Thread):
    """An actor that plays `most` episodes, of which every second succeeds, at most until the run is over."""

    def __init__(self, config: Config, most: int = 10**9) -> None:
        super().__init__()
        self.config, self.most, self.weights = config, most, None
        self.stop, self.played = threading.Event(), threading.Event()

    def run(self) -> None:
        spec = experience_spec(self.config, make_base(self.config.base, self.config.task, "cpu"))
        uplink = Uplink(self.config.wire, actor_id="peg-0", role="actor", spec=spec, stop=self.stop)
        uplink.connect()
        number = 0
        while not self.stop.is_set() and not (uplink.progress and uplink.progress.finished):
            if number == self.most == uplink.durable:
                self.played.set()
            elif number < self.most and not (uplink.progress and uplink.progress.evaluate):
                uplink.send(episode(spec, number, success=number % 2 == 1))
                number += 1
            uplink.pump()
            self.weights = uplink.newest_weights() or self.weights
            self.stop.wait(0.005)
        uplink.close()


def collect(config: Config) -> Player:
    """A whole run."""
    player = Player(config)
    player.start()
    try:
        run_learner(config, StopRequest())
    finally:
        player.stop.set()
        player.join()
    return player


@pytest.mark.parametrize(
    ("words", "played", "kept"),
    [
        (("algo.episodes=7",), 7, [False, True] * 3 + [False]),
        (("algo.successes=3",), 6, [False, True] * 3),
        (("algo.successes=3", "algo.keep=successes"), 6, [True] * 3),
        (("algo.episodes=7", "algo.keep=successes"), 7, [True] * 3),
    ],
)
def test_a_collection_has_exactly_what_was_asked_for(
    words: tuple[str, ...], played: int, kept: list[bool], tmp_path: Path, free_ports: tuple[int, int]
) -> None:
    config = make(tmp_path, free_ports, *words)
    collect(config)
    summary = json.loads((config.run_dir / "summary.json").read_text())
    assert (summary["collected_episodes"], summary["replay_episodes"]) == (played, len(kept))
    assert [outcome.success for outcome in read_outcomes(config.run_dir / "replay")] == kept
    assert f"demos={config.run_dir / 'replay'}" in summary["train_base_command"]
    assert f"--dataset.root={config.run_dir / 'replay'}" in summary["lerobot_train_command"]
    assert not any((config.run_dir / "journal").glob("*"))


def test_a_collection_that_was_stopped_goes_on_to_the_same_number(
    tmp_path: Path, free_ports: tuple[int, int]
) -> None:
    config = make(tmp_path, free_ports, "algo.episodes=60", "algo.keep=successes")
    player, stop = Player(config, most=20), StopRequest()
    player.start()
    learner = threading.Thread(target=run_learner, args=(config, stop))
    learner.start()
    try:
        wait_for(lambda: player.played.is_set() or not learner.is_alive())
    finally:
        stop.set()
        learner.join()
        player.stop.set()
        player.join()
    assert len(read_outcomes(config.run_dir / "replay")) <= 10
    assert not (config.run_dir / "summary.json").exists()
    collect(config)
    summary = json.loads((config.run_dir / "summary.json").read_text())
    assert (summary["collected_episodes"], summary["replay_episodes"]) == (60, 30)
    assert all(outcome.success for outcome in read_outcomes(config.run_dir / "replay"))


def trained(folder: Path, words: tuple[str, ...] = ()) -> dict[str, torch.Tensor]:
    """Write what another run left of its residual; returns its weights."""
    algo = compose_config(["algo.relations=[]", "algo.hidden=[8]", *words]).algo
    torch.manual_seed(1)
    base = make_base(compose_config(["base=zero"]).base, compose_config([]).task, "cpu")
    weights = ResidualActor(algo, base.observation_dim, base.action_dim).state_dict()
    import msgspec

    content = {"version": 3, "updates": 9, "algo": msgspec.to_builtins(algo), "actor": weights}
    (folder / "checkpoints").mkdir(parents=True, exist_ok=True)
    (folder / "config.yaml").touch()
    write_safetensors(folder / "checkpoints" / "best.safetensors", content)
    return weights


def test_the_residual_of_another_run_plays_with_its_own_settings(
    tmp_path: Path, free_ports: tuple[int, int]
) -> None:
    weights = trained(tmp_path / "taught", ("algo.residual_scale=0.25",))
    config = with_residual(make(tmp_path, free_ports, "algo.from_run=taught", "algo.episodes=2"))
    assert config.algo.plays is not None and config.algo.scale == 0.25
    player = collect(config)
    assert player.weights is not None
    found = player.weights.columns
    assert found.keys() == weights.keys()
    assert all(np.array_equal(found[name], weights[name].numpy()) for name in weights)


def test_what_cannot_play_is_refused_in_one_line(tmp_path: Path, free_ports: tuple[int, int]) -> None:
    words = ("algo.from_run=taught", "algo.episodes=2")
    (tmp_path / "taught").mkdir()
    with pytest.raises(ConfigError, match="algo.from_run=taught is no run: name a run's folder"):
        with_residual(make(tmp_path, free_ports, *words))
    trained(tmp_path / "taught")
    with pytest.raises(ConfigError, match=r"newest\.safetensors is missing: give best, newest, or a file"):
        with_residual(make(tmp_path, free_ports, *words, "algo.checkpoint=newest"))
    trained(tmp_path / "steered", ("algo=dsrl",))
    with pytest.raises(CheckpointError, match="chooses the base's noise, algo=collect plays residuals"):
        with_residual(make(tmp_path, free_ports, "algo.from_run=steered", "algo.episodes=2"))
    other = make(tmp_path, free_ports, *words, "task=stack_cube")
    with pytest.raises(CheckpointError, match="does not fit this task and base") as refused:
        run_learner(other, StopRequest())
    assert "\n" not in str(refused.value)


def test_a_collection_must_know_when_to_end() -> None:
    with pytest.raises(ConfigError, match=r"give algo\.episodes=N or algo\.successes=N"):
        compose_config(["algo=collect"])
