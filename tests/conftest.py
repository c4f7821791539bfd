"""Fixtures that many tests share."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest

# A shell starts what runs in its background deaf to Ctrl-C; processes that tests start must hear it.
signal.signal(signal.SIGINT, signal.default_int_handler)

# Processes that tests start import torch and the simulator: twice as fast from kept byte code.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
# Threads of torch spin while they wait for each other: ten times slower where others use the processors.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# Shared, busy machines make single examples slow; that says nothing about the law under test.
hypothesis.settings.register_profile("default", deadline=None, max_examples=50)
hypothesis.settings.load_profile("default")


@pytest.fixture(scope="session")
def repository() -> Path:
    """The root of this checkout."""
    return Path(__file__).resolve().parent.parent


def _is_free(port: int) -> bool:
    with socket.socket() as tried:
        try:
            tried.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


@pytest.fixture(scope="session")
def unused_ports() -> Iterator[int]:
    """Loopback ports that nobody listens on, each given once.
    They lie below those that the system gives to connections; each process of pytest-xdist has its own."""
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw15").removeprefix("gw"))
    ports = [10_000 + worker * 1_000 + number for number in range(1_000)]
    start = os.getpid() % len(ports)  # another suite may run beside
    return (port for port in ports[start:] + ports[:start] if _is_free(port))


@pytest.fixture
def free_ports(unused_ports: Iterator[int]) -> tuple[int, int]:
    """Two loopback ports that nobody listens on."""
    return next(unused_ports), next(unused_ports)


@pytest.fixture(autouse=True)
def own_priority() -> Iterator[None]:
    """A verb that is called here must not lower the priority of all tests after it."""
    with pytest.MonkeyPatch.context() as patch:  # of its own, so that a test's own patches go first
        patch.setattr("os.nice", lambda _: 0)
        yield


@pytest.fixture(scope="session", autouse=True)
def nobody_is_waited_for() -> Iterator[None]:
    """Tests look at a dataset between its commits; those of `learner.replay.dataset.watch` set this again."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("learner.replay.dataset.watch.QUIET_S", 0.0)
        yield


@pytest.fixture(scope="session")
def renderer() -> None:
    """Skips where nothing renders; asked in another process, since Vulkan looks for drivers once."""
    asked = subprocess.run(
        [sys.executable, "-c", "from actor.simulators.headless import choose_renderer; choose_renderer()"],
        capture_output=True,
        text=True,
    )
    if asked.returncode:
        pytest.skip(asked.stderr.strip().splitlines()[-1])


@pytest.fixture
def drawing() -> None:
    """Skips where nothing draws for MuJoCo."""
    from actor.simulators.contract import RenderError
    from actor.simulators.mujoco_pictures import choose_gl

    try:
        choose_gl()
    except RenderError as error:
        pytest.skip(str(error))
