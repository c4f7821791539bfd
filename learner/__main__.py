"""python -m learner [key=value ...] | --config FILE: receives experience, trains and publishes."""

from actor.policy.contract import CheckpointError
from actor.policy.device import DeviceError
from config.compose import run_configured
from learner.folder import RunError
from learner.intake.intake import IntakeError
from learner.replay.dataset.format.spec import DatasetError
from learner.replay.journal.journal import JournalError
from learner.replay.prior.demonstration import DemonstrationError
from learner.run import run_learner

if __name__ == "__main__":
    run_configured(
        __doc__ or "", run_learner,
        CheckpointError, DatasetError, DemonstrationError, DeviceError, IntakeError, JournalError, RunError,
    )  # fmt: skip
