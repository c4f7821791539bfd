"""python -m actor [Hydra overrides]: simulates and sends experience to the learner."""

from actor.environment import TaskError
from actor.headless import RenderError
from actor.loop import run_actor
from actor.memory import keep_freed_memory
from actor.policy.device import DeviceError
from actor.policy.diffusion import CheckpointError
from actor.spool import SpoolError
from actor.uplink import UplinkError
from config.cli import main

if __name__ == "__main__":
    keep_freed_memory()
    main(
        __doc__ or "", run_actor,
        CheckpointError, DeviceError, TaskError, RenderError, UplinkError, SpoolError,
    )  # fmt: skip
