"""Laws of machines that lack something: one line says what, and what to do."""

import errno
import os

import gymnasium.vector
import pytest

from actor.policy.native.build import NativeError, compiled
from actor.simulators import processes
from actor.simulators.contract import TaskError
from launch.run.processes import Command, Ended
from launch.run.supervisor import _report
from tests.support.helpers import ROOT, make_config


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EMFILE, errno.ENOMEM])
def test_simulators_that_cannot_start_say_what_they_need(
    number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    # github.com/pytorch/pytorch/issues/1355: containers have a /dev/shm of 64 MB, and others fill it.
    def refuse(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(processes, "ask_for_spaces", lambda *_: None)
    monkeypatch.setattr(gymnasium.vector, "AsyncVectorEnv", refuse)
    with pytest.raises(TaskError, match=f"{os.strerror(number)}: they need room in /dev/shm .*containers.md"):
        processes.ProcessEnvironment(make_config().task, [range(2)], seed=0)


def test_a_killed_process_is_said_with_the_likely_cause(caplog: pytest.LogCaptureFixture) -> None:
    _report(Ended(Command("learner", "learner", ()), 137))
    assert "learner was killed: by a person, or by the system because memory was short" in caplog.text


def test_a_home_that_cannot_be_written_names_the_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    # github.com/opendatahub-io/ilab-on-ocp/pull/26: a home at / in a container.
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("HOME", "/proc")  # not even root may make a folder there
    with pytest.raises(NativeError, match="/proc/.cache/.* set XDG_CACHE_HOME=<folder>"):
        compiled(ROOT / "actor/policy/native/perceptrons.cpp")
