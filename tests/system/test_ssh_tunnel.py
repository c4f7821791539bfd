"""The SSH tunnel of docs/how-to/another-host.md, through a private sshd with keys that are thrown away."""

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest

from config.compose import compose_config
from protocol.messages import Weights
from tests.support.documents import all_commands
from tests.support.wire import (
    TIMEOUT_S,
    acting,
    learning,
    make_columns,
    make_weights,
    make_wire,
    pump_until,
)

SSHD = shutil.which("sshd", path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin")
HOST = "127.0.0.1"


def make_key(path: Path) -> Path:
    words = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(path)]
    subprocess.run(words, check=True)
    return path


def wait_for_port(port: int, process: subprocess.Popen[bytes]) -> None:
    deadline_s = time.monotonic() + TIMEOUT_S
    while True:
        assert process.poll() is None, f"{process.args} ended with {process.returncode}"
        try:
            return socket.create_connection((HOST, port)).close()
        except ConnectionRefusedError:
            assert time.monotonic() < deadline_s, f"{process.args} does not listen"
            time.sleep(0.05)


@contextmanager
def running(words: list[str], port: int, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("ab") as file:
        process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=file, stderr=file)
    try:
        wait_for_port(port, process)
        yield process
    finally:
        process.kill()
        process.wait()


def free_port() -> int:
    with socket.socket() as free:
        free.bind((HOST, 0))
        return free.getsockname()[1]


@pytest.fixture
def sshd(tmp_path: Path) -> Iterator[int]:
    """A port where this user's throw-away key opens, for this test alone."""
    if SSHD is None:
        pytest.skip("no sshd here (Debian: openssh-server)")
    if shutil.which("ssh") is None:
        pytest.skip("no ssh here (Debian: openssh-client)")
    host_key, user_key = make_key(tmp_path / "host_key"), make_key(tmp_path / "user_key")
    port = free_port()
    (tmp_path / "known_hosts").write_text(f"[{HOST}]:{port} {host_key.with_suffix('.pub').read_text()}")
    options = {
        "ListenAddress": HOST, "Port": port, "HostKey": host_key, "PidFile": "none", "UsePAM": "no",
        "AuthorizedKeysFile": user_key.with_suffix(".pub"), "StrictModes": "no",
        "PasswordAuthentication": "no",
    }  # fmt: skip
    (tmp_path / "sshd_config").write_text("".join(f"{key} {value}\n" for key, value in options.items()))
    words = [SSHD, "-D", "-e", "-f", str(tmp_path / "sshd_config")]
    checked = subprocess.run([*words, "-t"], capture_output=True, text=True)
    if checked.returncode:
        pytest.skip(f"sshd does not run here: {checked.stderr.strip()}")
    with running(words, port, tmp_path / "sshd.log"):
        yield port


def forwards_of(ports: dict[int, int]) -> list[str]:
    """here -> there."""
    return [word for here, there in ports.items() for word in ("-L", f"{here}:{HOST}:{there}")]


def tunnel_words(folder: Path, sshd: int, ports: dict[int, int]) -> list[str]:
    """The page's command, with ports of our own: here -> there."""
    options = [
        "-F", "none", "-p", str(sshd), "-i", str(folder / "user_key"), "-o", "IdentitiesOnly=yes",
        "-o", f"UserKnownHostsFile={folder / 'known_hosts'}", "-o", "ExitOnForwardFailure=yes",
        "-o", "BatchMode=yes",
    ]  # fmt: skip
    return ["ssh", "-N", *forwards_of(ports), *options, HOST]


def test_the_page_has_this_command() -> None:
    [command] = [c for c in all_commands() if c.words.startswith("ssh ")]
    wire = compose_config([]).wire
    forwards = forwards_of({port: port for port in (wire.experience_port, wire.weights_port)})
    assert command.words == " ".join(["ssh", "-N", *forwards, "learner-host", "&"])


def test_rows_and_weights_pass_through_a_tunnel_and_go_on_when_it_comes_back(
    sshd: int, tmp_path: Path, free_ports: tuple[int, int]
) -> None:
    there = make_wire(free_ports)
    here = msgspec.structs.replace(there, experience_port=free_port(), weights_port=free_port())
    ports = {here.experience_port: there.experience_port, here.weights_port: there.weights_port}
    words, log = tunnel_words(tmp_path, sshd, ports), tmp_path / "ssh.log"
    got: list[Weights] = []
    with learning(there) as intake:
        intake.publish(make_weights(1))
        with running(words, here.experience_port, log), acting(here) as uplink:
            uplink.send(make_columns(0))
            assert uplink.flush(TIMEOUT_S)
            pump_until(lambda: got.extend(w for w in [uplink.newest_weights()] if w) or got, uplink)
            assert intake.peers()[0].address == HOST
        with acting(here, connect=False) as uplink:
            with running(words, here.experience_port, log):
                uplink.connect()
                uplink.send(make_columns(8))
            uplink.pump()  # the tunnel is down
            with running(words, here.experience_port, log):
                uplink.send(make_columns(16))
                assert uplink.flush(TIMEOUT_S)
        episodes = sorted(int(n) for batch in intake.drain() for n in batch.columns["episode"])
    assert [weights.version for weights in got] == [1]
    assert episodes == list(range(24))
