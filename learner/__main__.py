"""python -m learner [Hydra overrides]: receives experience, trains the residual, publishes it."""

from actor.policy.contract import CheckpointError
from actor.policy.device import DeviceError
from config.process import main
from learner.intake.intake import IntakeError
from learner.loop import run_learner
from learner.replay.dataset.format.spec import DatasetError
from learner.replay.journal.journal import JournalError
from learner.replay.prior.demonstration import DemonstrationError
from learner.run import RunError

if __name__ == "__main__":
    main(
        __doc__ or "",
        run_learner,
        CheckpointError,
        DatasetError,
        DemonstrationError,
        DeviceError,
        IntakeError,
        JournalError,
        RunError,
    )
