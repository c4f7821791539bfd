"""A process on a node: it gets its files, its lines are heard, and nothing of it is left. Without Ray."""

import os
import stat
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from config.compose import compose_launch, read_config
from config.main import Config
from config.process import UsageError
from launch.cluster.on_ray.host import Heard, Host, Secrets, Work, look
from launch.cluster.on_ray.keys import make_run_keys
from launch.cluster.on_ray.node import Home, for_nodes, shown
from launch.run.folder import ROOT
from launch.run.processes import Command
from protocol.channel.keys import find_client_secret, read_allowed, read_pair, read_public
from protocol.channel.sockets import Endpoint, bind


@pytest.fixture
def config(tmp_path: Path) -> Config:
    launch = compose_launch(["cluster=ray", "name=one", f"runs_dir={tmp_path / 'runs'}"])
    config = for_nodes(launch.run, launch.cluster)
    config.run_dir.mkdir(parents=True)
    return config


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Host]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    host = Host()
    yield host
    host.end()


def start(host: Host, config: Config, home: Home, code: str, secrets: Secrets | None = None) -> list[str]:
    command = Command("actor-0", "actor", ("elsewhere/python", "-uc", code, "launch.yaml"))
    heard = host.start(Work(command, config, "launch.yaml", home), secrets or Secrets({}, {}))
    return [*heard.lines, *(line for line in until_end(host).lines)]


def until_end(host: Host) -> Heard:
    lines: list[str] = []
    deadline_s = time.monotonic() + 30
    while time.monotonic() < deadline_s:
        heard = host.listen()
        lines += heard.lines
        if heard.ended is not None:
            return Heard(tuple(lines), heard.ended)
    raise AssertionError("never ended")


def test_a_process_gets_keys_that_its_owner_alone_may_read_and_that_no_command_line_shows(
    host: Host, config: Config
) -> None:
    keys = make_run_keys()
    code = (
        "import os, pathlib, sys; folder = pathlib.Path(sys.argv[1]).parent; "
        "[print(oct(p.stat().st_mode), p) for p in sorted(folder.rglob('*'))]; print(folder.stat().st_mode); "
        "print(sys.argv); print(sorted(os.environ))"
    )
    with shown(config) as home:
        lines = start(host, config, home, code, Secrets(keys.client, {"WANDB_API_KEY": "hidden"}))
    text = "\n".join(lines)
    assert "0o100600" in text and "/keys/actor-local.secret" in text and "learner.secret" not in text
    assert f"{stat.S_IFDIR | 0o700}" in lines
    assert "WANDB_API_KEY" in text and "hidden" not in text
    assert not any(key.strip() in text for key in keys.client.values())
    assert "hidden" not in repr(Secrets(keys.client, {"WANDB_API_KEY": "hidden"}))


def test_nothing_is_left_on_the_node(host: Host, config: Config, tmp_path: Path) -> None:
    with shown(config) as home:
        start(host, config, home, "print('up')")
    assert not list(tmp_path.glob("residual-rl-*"))
    assert [path.name for path in config.run_dir.iterdir()] == []


def test_a_process_reads_its_configuration_on_its_node(host: Host, config: Config, tmp_path: Path) -> None:
    code = "import shutil, sys; shutil.copy(sys.argv[1], 'seen.yaml')"
    elsewhere = msgspec.structs.replace(config.base, path="/far/residual-rl/bases/PickCube-v1")
    config = msgspec.structs.replace(config, base=elsewhere)
    with shown(config) as home:
        start(host, config, msgspec.structs.replace(home, root="/far/residual-rl"), code)
        near = read_config(tmp_path / "seen.yaml")
        unseen = msgspec.structs.replace(home, root="/far/residual-rl", token="another")
        start(host, config, unseen, code)
        far = read_config(tmp_path / "seen.yaml")
    assert near.base.path == str(ROOT / "bases" / "PickCube-v1")
    assert near.actor.spool == str(config.run_dir / "spool")
    assert far.actor.spool == f"{tmp_path}/residual-rl-spool-{os.getuid()}/one"
    assert near.wire.keys_dir is not None and near.wire.keys_dir.startswith(f"{tmp_path}/residual-rl-")


def test_a_node_sees_the_runs_folder_and_not_another_of_its_name(config: Config) -> None:
    with shown(config) as home:
        assert look(home)
        assert not look(msgspec.structs.replace(home, token="another"))
    assert not look(home)


def test_the_end_is_heard_with_its_last_lines(host: Host, config: Config) -> None:
    command = Command("actor-0", "actor", (sys.executable, "-c", "print('error: no base'); exit(2)"))
    with shown(config) as home:
        host.start(Work(command, config, "launch.yaml", home), Secrets({}, {"WANDB_API_KEY": "hidden"}))
        heard = until_end(host)
    assert heard.lines == ("error: no base",)
    assert heard.ended is not None and (heard.ended.code, heard.ended.error) == (2, "no base")
    assert heard.ended.command.env == ()


def test_a_port_that_is_taken_on_the_learners_node_is_one_line(
    host: Host, config: Config, free_ports: tuple[int, int]
) -> None:
    import zmq

    wire = msgspec.structs.replace(config.wire, experience_port=free_ports[0], weights_port=free_ports[1])
    endpoint = msgspec.convert(wire, Endpoint, from_attributes=True)
    host.require_free(endpoint)
    context = zmq.Context()
    try:
        publisher = context.socket(zmq.PUB)  # without a name it would be closed at once
        bind(publisher, endpoint, "experience_port")
        with pytest.raises(UsageError, match=f"wire.experience_port={free_ports[0]} on .* is in use"):
            host.require_free(endpoint)
    finally:
        context.destroy(linger=0)


def test_keys_of_a_run_fit_each_other_and_no_client_gets_the_learners_secret(tmp_path: Path) -> None:
    from launch.cluster.on_ray.host import _write_keys

    keys = make_run_keys()
    for name, files in (("learner", keys.learner), ("client", keys.client)):
        _write_keys(tmp_path / name, files)
    [allowed] = read_allowed(tmp_path / "learner")
    assert read_pair(find_client_secret(tmp_path / "client", "actor-7")).public == allowed
    learner = read_pair(tmp_path / "learner" / "learner.secret")
    assert read_public(tmp_path / "client" / "learner.public") == learner.public
    assert learner.secret not in "".join(keys.client.values())
