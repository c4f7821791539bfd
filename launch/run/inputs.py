"""Whether a run's devices exist, and its base and prior data can be used, asked before anything of it starts.

A process of its own asks: the launcher neither keeps what it loads, nor ends with it where a library does not
survive a damaged file.
"""

import logging
import subprocess
import sys
from pathlib import Path

import msgspec

from actor.policy.dimensions import dimensions_of
from config.base import ZeroBaseConfig
from config.main import Config
from config.process import USAGE_ERROR, FailedError, StopRequest, UsageError, run_main
from config.trust import trusting
from launch.run.processes import ERROR

log = logging.getLogger("launch")

SHIPPED = Path(__file__).resolve().parents[2] / "bases"
"""These are known to be good."""

# After which a person is told what takes so long.
_PATIENCE_S = 2.0


def require_inputs(config: Config, stop: StopRequest) -> None:
    """Let a process look at devices, base and prior data, unless there is nothing to look at; until `stop`.
    Raises UsageError: with its line. FailedError: it ended in another way."""
    if not _described(config):
        return
    words = [sys.executable, "-m", "launch.run.inputs"]
    quiet = subprocess.DEVNULL
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=quiet, stderr=subprocess.PIPE) as asked:
        try:
            said = _wait(asked, config, stop).decode(errors="replace").strip()
        finally:
            asked.kill()  # KeyboardInterrupt does not reach it from a notebook
    if stop.is_set() or asked.returncode == 0:
        return
    last = said.rpartition("\n")[2]
    if asked.returncode == USAGE_ERROR:
        raise UsageError(last.removeprefix(ERROR))
    raise FailedError(
        f"{_described(config)} cannot be used: what looks at it, as the learner will, ended with exit code "
        f"{asked.returncode}{f': {last}' if last else ''}"
    )


def on_other_hosts(config: Config) -> Config:
    """The run without what `require_inputs` cannot see of hosts that it is not called on: their devices."""
    learner = msgspec.structs.replace(config.learner, device="cpu", replay_device="cpu")
    actor = msgspec.structs.replace(config.actor, device="cpu", backend="physx_cpu")
    return msgspec.structs.replace(config, learner=learner, actor=actor)


def _wait(asked: subprocess.Popen[bytes], config: Config, stop: StopRequest) -> bytes:
    """What it wrote to standard error."""
    given: bytes | None = msgspec.json.encode(config)
    while True:
        try:
            return asked.communicate(given, timeout=_PATIENCE_S)[1]
        except subprocess.TimeoutExpired:
            if given is not None:
                log.info("looking at %s", _described(config))
            given = None  # it has it
            if stop.is_set():
                asked.kill()


def _described(config: Config) -> str:
    devices = ["the devices"] if _asks_for_devices(config) else []
    bases = [config.base.path] if _brings_base(config) else []
    judges = [] if config.task.classifier is None else [str(config.task.classifier)]
    return ", ".join([*devices, *bases, *judges, *config.prior_sources])


def _brings_base(config: Config) -> bool:
    """Whether the base has files that did not come with this repository."""
    is_shipped = Path(config.base.path).resolve().is_relative_to(SHIPPED)
    return not is_shipped and not isinstance(config.base, ZeroBaseConfig)


def _asks_for_devices(config: Config) -> bool:
    names = (config.learner.device, config.learner.replay_device, config.actor.device)
    return set(names) != {"cpu"} or config.actor.backend == "physx_cuda"


def look(config: Config) -> None:
    """Raises CheckpointError, DemonstrationError, DeviceError: see their messages."""
    if _asks_for_devices(config):
        from actor.policy.device import require_device, require_devices  # torch takes seconds

        require_device("learner.device", config.learner.device)
        require_device("learner.replay_device", config.learner.replay_device)
        require_devices(config.actor)
    if _brings_base(config):
        from actor.policy.make import make_base
        from actor.policy.spec import experience_spec

        experience_spec(config, make_base(config.base, config.task, "cpu"))
        if config.algo.trains_base:
            from learner.tuning.make import require_trainable

            require_trainable(config)
    if config.task.classifier is not None:
        from actor.policy.classifier.files import load_classifier

        load_classifier(config.task.classifier, config.task, "cpu")
    if config.prior_sources:
        from learner.replay.prior.check import require_prior

        require_prior(config, dimensions_of(config.task))


def main(argv: list[str]) -> None:
    """The process: reads the configuration from standard input."""
    config = msgspec.json.decode(sys.stdin.buffer.read(), type=Config)
    with trusting(config.trust_remote_code):
        look(config)


if __name__ == "__main__":
    run_main(main, log_format=None)
