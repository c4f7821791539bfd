"""A run's devices and the content of its prior data are looked at before anything of it starts."""

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from actor.policy.contract import CheckpointError
from actor.policy.device import DeviceError
from config.main import Config
from config.process import FailedError, StopRequest, UsageError
from launch.run import inputs
from launch.run.inputs import look, require_inputs
from learner.replay.prior.error import DemonstrationError
from tests.support.demonstrations import STATE, describe, put, write_dataset, write_h5
from tests.support.helpers import make_config


def given(source: Path | str) -> Config:
    return make_config(f"learner.demos=['{source}']")


def with_nan(array: np.ndarray) -> np.ndarray:
    array[3, 1] = np.nan
    return array


def of_another_task(path: Path) -> Path:
    describe(path, env_info={"env_id": "StackCube-v1", "env_kwargs": {}})
    return write_h5(path)


WRONG: dict[str, tuple[Callable[[Path], Any], str]] = {
    "a value that is not finite": (
        lambda path: write_h5(path, put("obs", with_nan, 1)), "episode 1: observations at frame 3",
    ),
    "other dimensions": (
        lambda path: write_h5(path, put("obs", lambda o: o[:, :-1])), "observation_dim 41 and action_dim 7",
    ),
    "another task": (of_another_task, "of task StackCube-v1, .*learner.demos_of_other_tasks=accept"),
    "no success": (
        lambda path: write_h5(path, put("success", lambda s: None)),
        "learner.demos_without_success=last_frame",
    ),
    "a dataset of another rate": (
        lambda path: write_dataset(path, STATE).joinpath("meta/info.json").write_text(
            path.joinpath("meta/info.json").read_text().replace('"fps": 20', '"fps": 30')
        ),
        "has fps 30, this run 20",
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", WRONG)
def test_prior_data_that_the_learner_would_refuse_is_refused_in_its_words(kind: str, tmp_path: Path) -> None:
    make, says = WRONG[kind]
    make(tmp_path / "demos")
    with pytest.raises(DemonstrationError, match=says):
        look(given(tmp_path / "demos"))


def test_good_data_passes(tmp_path: Path) -> None:
    look(given(write_h5(tmp_path / "demos.h5")))
    look(make_config())


def test_a_base_that_cannot_be_read_is_refused_and_a_shipped_one_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "args.json").write_text("{")
    with pytest.raises(CheckpointError, match=r"args\.json is not JSON"):
        look(make_config("learner.demos=null", f"base.path={tmp_path}"))
    (tmp_path / "args.json").write_text((inputs.SHIPPED / "PickCube-v1/args.json").read_text())
    (tmp_path / "checkpoints/best.pt").write_bytes(b"version https://git-lfs.github.com/spec/v1\n")
    with pytest.raises(CheckpointError, match="git lfs pull"):
        look(make_config("learner.demos=null", f"base.path={tmp_path}"))


def test_a_dataset_of_the_hub_that_cannot_be_fetched_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(DemonstrationError, match="no demonstrations at nobody/nothing: there is no such"):
        look(given("nobody/nothing"))


# On a machine with GPUs too.
KEYS = ("learner.device", "learner.replay_device", "actor.device")
DEVICES = ["learner.device=gpu", *(f"{key}=cuda:77" for key in KEYS)]


@pytest.mark.parametrize("word", DEVICES)
def test_a_device_that_is_not_there_is_refused_with_its_key(word: str) -> None:
    with pytest.raises(DeviceError, match=f"{word} cannot be used: "):
        look(make_config("algo.prior_fraction=0", "learner.replay_device=cpu", word))


def test_with_a_shipped_base_alone_no_process_is_started(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(subprocess, "Popen", None)
    require_inputs(make_config("algo.prior_fraction=0"), StopRequest())
    require_inputs(make_config("learner.demos=null"), StopRequest())


def test_the_process_says_the_same_line(tmp_path: Path) -> None:
    config = given(write_h5(tmp_path / "demos.h5", put("obs", with_nan, 1)))
    with pytest.raises(DemonstrationError) as here:
        look(config)
    with pytest.raises(UsageError) as there:
        require_inputs(config, StopRequest())
    assert str(there.value) == str(here.value)


def instead(monkeypatch: pytest.MonkeyPatch, code: str) -> None:
    """Another program in the place of the process."""
    started = subprocess.Popen

    def start(words: list[str], **kwargs: Any) -> Any:
        return started([sys.executable, "-c", code], **kwargs)

    monkeypatch.setattr(subprocess, "Popen", start)


def test_a_library_that_does_not_survive_a_file_ends_no_launcher(monkeypatch: pytest.MonkeyPatch) -> None:
    instead(monkeypatch, "import os; os.abort()")
    with pytest.raises(FailedError, match="demos.h5 cannot be used: .* exit code -6"):
        require_inputs(make_config(), StopRequest())


def test_a_person_is_told_what_takes_long_and_need_not_wait_for_it(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    stop, begin = StopRequest(), time.monotonic()
    monkeypatch.setattr(inputs, "_PATIENCE_S", 0.1)
    monkeypatch.setattr(inputs.log, "info", lambda *words: stop.set())
    instead(monkeypatch, "import time; time.sleep(60)")
    require_inputs(make_config(), stop)
    assert stop.is_set() and time.monotonic() - begin < 10


def test_an_interrupt_leaves_no_process(monkeypatch: pytest.MonkeyPatch) -> None:
    instead(monkeypatch, "import time; time.sleep(60)")
    start, started = subprocess.Popen, list[Any]()

    def noted(*words: Any, **options: Any) -> Any:
        started.append(start(*words, **options))
        return started[0]

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(subprocess, "Popen", noted)
    monkeypatch.setattr(inputs, "_PATIENCE_S", 0.1)
    monkeypatch.setattr(inputs.log, "info", interrupt)
    with pytest.raises(KeyboardInterrupt):
        require_inputs(make_config(), StopRequest())
    assert started[0].wait(10) == -signal.SIGKILL


@pytest.mark.parametrize("words", [(), ("base=lerobot", "base.overrides={a: 1.5}")])
def test_the_process_gets_the_configuration_as_it_is(words: tuple[str, ...]) -> None:
    config = make_config(*words)
    assert msgspec.json.decode(msgspec.json.encode(config), type=Config) == config
