"""python -m actor [Hydra overrides]: simulates and sends experience to the learner."""

from actor.link.spool import SpoolError
from actor.link.uplink import UplinkError
from actor.loop import run_actor
from actor.malloc import keep_freed_memory
from actor.policy.contract import CheckpointError
from actor.policy.device import DeviceError
from actor.simulators.contract import TaskError
from actor.simulators.headless import RenderError
from config.compose import run_configured

if __name__ == "__main__":
    keep_freed_memory()
    run_configured(
        __doc__ or "", run_actor,
        CheckpointError, DeviceError, TaskError, RenderError, UplinkError, SpoolError,
    )  # fmt: skip
