"""Laws of the key files, launch.make_keys and who is let in."""

import shutil
import socket
import stat
import time
from pathlib import Path

import pytest

from launch.make_keys import make_keys
from protocol.channel.client import ClientChannel
from protocol.channel.keys import (
    KeyFileError,
    find_client_secret,
    new_pair,
    read_allowed,
    read_pair,
    read_public,
    write_pair,
)
from protocol.channel.learner import LearnerChannel
from tests.support.channels import LIMITS, endpoint, talk

# What a ZMTP 3 client without security says first.
NULL_GREETING = b"\xff" + bytes(8) + b"\x7f\x03\x00" + b"NULL".ljust(20, b"\0") + bytes(32)


@pytest.fixture
def keys_dir(tmp_path: Path) -> Path:
    make_keys(tmp_path / "keys", ["box"])
    return tmp_path / "keys"


def client_folder(tmp_path: Path, keys_dir: Path) -> Path:
    """What another host has: the learner's public key and a pair that the learner does not know."""
    folder = tmp_path / "stranger"
    folder.mkdir(mode=0o700)
    shutil.copy(keys_dir / "learner.public", folder)
    write_pair(folder, "actor-stranger", new_pair())
    return folder


def test_a_client_with_a_key_on_the_allow_list_gets_in(keys_dir: Path, free_ports: tuple[int, int]) -> None:
    at = endpoint(free_ports, keys_dir)
    learner, client = LearnerChannel(at, LIMITS), ClientChannel(at, LIMITS, "actor-0")
    try:
        assert talk(learner, client, timeout_s=10.0) == (True, True)
    finally:
        client.close()
        learner.close()


@pytest.mark.parametrize("stranger", ["no key", "unknown key", "wrong learner key"])
def test_anybody_else_gets_nothing_in_and_nothing_out(
    stranger: str, keys_dir: Path, tmp_path: Path, free_ports: tuple[int, int]
) -> None:
    folder = None if stranger == "no key" else client_folder(tmp_path, keys_dir)
    if stranger == "wrong learner key":
        assert folder is not None
        shutil.copy(keys_dir / "actor-box.secret", folder)
        shutil.copy(keys_dir / "actor-box.public", folder / "learner.public")
    at = endpoint(free_ports, keys_dir)
    learner = LearnerChannel(at, LIMITS)
    client = ClientChannel(endpoint(free_ports, folder), LIMITS, "actor-box")
    friend = ClientChannel(at, LIMITS, "actor-0")
    try:
        assert talk(learner, client, timeout_s=0.7) == (False, False)
        assert talk(learner, friend, timeout_s=10.0) == (True, True)
        assert client.receive_published()[0] is None
    finally:
        for channel in (client, friend, learner):
            channel.close()


def test_a_revoked_key_is_shut_out_while_the_learner_runs(
    keys_dir: Path, free_ports: tuple[int, int]
) -> None:
    at = endpoint(free_ports, keys_dir)
    learner = LearnerChannel(at, LIMITS)
    box, friend = ClientChannel(at, LIMITS, "actor-box"), ClientChannel(at, LIMITS, "actor-0")
    try:
        assert talk(learner, box, timeout_s=10.0) == (True, True)
        assert talk(learner, friend, timeout_s=10.0) == (True, True)
        (keys_dir / "allowed" / "actor-box.public").unlink()
        learner.refresh_allowed()
        assert talk(learner, box, timeout_s=0.7) == (False, False)
        box.receive_published()  # of the first talk
        assert talk(learner, friend, timeout_s=10.0) == (True, True)
        assert box.receive_published()[0] is None
        make_keys(keys_dir, ["late"])
        learner.refresh_allowed()
        late = ClientChannel(at, LIMITS, "actor-late")
        try:
            assert talk(learner, late, timeout_s=10.0) == (True, True)
        finally:
            late.close()
    finally:
        for channel in (box, friend, learner):
            channel.close()


def test_an_allow_list_that_became_unsafe_changes_nothing(
    keys_dir: Path, free_ports: tuple[int, int], caplog: pytest.LogCaptureFixture
) -> None:
    at = endpoint(free_ports, keys_dir)
    learner, client = LearnerChannel(at, LIMITS), ClientChannel(at, LIMITS, "actor-0")
    try:
        (keys_dir / "allowed" / "actor-box.public").unlink()
        (keys_dir / "allowed").chmod(0o777)
        learner.refresh_allowed()
        assert "the allow-list is not changed" in caplog.text
        assert talk(learner, client, timeout_s=10.0) == (True, True)
    finally:
        client.close()
        learner.close()


@pytest.mark.parametrize("stranger", ["no key", "unknown key"])
def test_who_is_turned_away_is_logged_with_the_address_but_not_at_every_try(
    stranger: str,
    keys_dir: Path,
    tmp_path: Path,
    free_ports: tuple[int, int],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("protocol.channel.access._LOG_EVERY_S", 3600.0)  # a busy machine takes its time
    folder = None if stranger == "no key" else client_folder(tmp_path, keys_dir)
    learner = LearnerChannel(endpoint(free_ports, keys_dir), LIMITS)
    clients = [ClientChannel(endpoint(free_ports, folder), LIMITS, "actor-box") for _ in range(3)]
    try:
        deadline_s = time.monotonic() + 10.0
        while learner.turned_away < 3:
            assert time.monotonic() < deadline_s
            learner.wait(0.05)
        lines = [r.getMessage() for r in caplog.records if "turned away" in r.getMessage()]
        assert len(lines) == 1
        why = "it showed no key" if folder is None else "its key is not on the allow-list"
        assert f"at 127.0.0.1: {why}" in lines[0]
    finally:
        for channel in (*clients, learner):
            channel.close()


def test_a_client_without_a_key_that_is_gone_before_anybody_looks_is_logged_with_its_address(
    keys_dir: Path, free_ports: tuple[int, int], caplog: pytest.LogCaptureFixture
) -> None:
    learner = LearnerChannel(endpoint(free_ports, keys_dir), LIMITS)
    try:
        # Not from 127.0.0.1: the address must be this client's.
        with socket.create_connection(("127.0.0.1", free_ports[0]), 10.0, ("127.0.0.7", 0)) as stranger:
            stranger.sendall(NULL_GREETING)
            while stranger.recv(4096):
                pass  # until the learner's side has closed
        deadline_s = time.monotonic() + 10.0
        while not learner.turned_away:
            assert time.monotonic() < deadline_s
            learner.wait(0.05)
    finally:
        learner.close()
    assert "at 127.0.0.7: it showed no key" in caplog.text


def test_key_files_are_readable_by_their_owner_alone(keys_dir: Path) -> None:
    modes = {stat.S_IMODE(path.stat().st_mode) for path in keys_dir.rglob("*.*")}
    assert modes == {0o600}
    assert stat.S_IMODE(keys_dir.stat().st_mode) == 0o700


def test_a_secret_that_others_may_read_is_refused(keys_dir: Path) -> None:
    (keys_dir / "learner.secret").chmod(0o640)
    with pytest.raises(KeyFileError, match="others may read .*learner.secret .*chmod go-rwx"):
        read_pair(keys_dir / "learner.secret")


def test_an_allow_list_that_others_may_change_is_refused(keys_dir: Path) -> None:
    (keys_dir / "allowed").chmod(0o770)
    with pytest.raises(KeyFileError, match="others may change .*allowed"):
        read_allowed(keys_dir)


def test_a_file_that_is_no_key_is_refused_without_showing_it(keys_dir: Path) -> None:
    (keys_dir / "learner.public").write_text("hunter2\n")
    with pytest.raises(KeyFileError, match="contains no CURVE key") as caught:
        read_public(keys_dir / "learner.public")
    assert "hunter2" not in str(caught.value)


def test_a_pair_does_not_show_its_secret() -> None:
    pair = new_pair()
    assert pair.secret not in repr(pair) + str(pair)


def test_making_keys_again_changes_none(keys_dir: Path) -> None:
    before = {path: path.read_bytes() for path in keys_dir.rglob("*.*")}
    make_keys(keys_dir, ["box", "other"])
    assert before.items() <= {path: path.read_bytes() for path in keys_dir.rglob("*.*")}.items()
    assert sorted(read_allowed(keys_dir).values()) == ["actor-box", "actor-local", "actor-other"]


def test_a_client_uses_its_own_key_then_the_local_one_then_the_only_one(keys_dir: Path) -> None:
    assert find_client_secret(keys_dir, "actor-box").name == "actor-box.secret"
    assert find_client_secret(keys_dir, "actor-7").name == "actor-local.secret"
    (keys_dir / "actor-local.secret").unlink()
    assert find_client_secret(keys_dir, "actor-7").name == "actor-box.secret"
    write_pair(keys_dir, "actor-b", new_pair())
    with pytest.raises(KeyFileError, match=r"several keys \(actor-b, actor-box\)"):
        find_client_secret(keys_dir, "actor-7")
