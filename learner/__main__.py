"""python -m learner [Hydra overrides]: receives experience, trains the residual, publishes it."""

from actor.policy.device import DeviceError
from actor.policy.diffusion import CheckpointError
from config.cli import main
from learner.intake import IntakeError
from learner.loop import run_learner
from learner.parts import RunError
from learner.replay.demonstrations import DemonstrationError
from learner.replay.journal import JournalError
from learner.replay.lerobot_format import DatasetError

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
