"""python -m actor [key=value ...] | --config FILE [--index N]: simulates, and sends experience."""

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
