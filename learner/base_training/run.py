"""Offline training of the diffusion base: bash launch/train_base.sh [preset=small] [key=value ...]

`out` becomes a base.path: args.json and checkpoints/best.pt in the published layout, beside
checkpoints/newest.pt, demos.h5, evaluations.jsonl, and training.pt, with which a stopped training goes on.
preset=small is for processors; the default, preset=published, wants a GPU. What each key means:
config/train_base/main.yaml.
"""

import logging
import sys
import threading

import torch

from actor.policy.contract import CheckpointError
from actor.policy.device import DeviceError, require_device
from config.process import TIMED, run_main, stop_on_signals, wants_help
from config.train_base import TrainBaseConfig, compose_training, training_defaults
from learner.base_training.demonstrations import (
    keep_demonstrations,
    read_episodes,
    require_task_sizes,
    windows_of,
)
from learner.base_training.trainer import ResumeError
from learner.base_training.training import Training, require_own_folder
from learner.replay.prior.demonstration import DemonstrationError

log = logging.getLogger(__name__)


def train_base(settings: TrainBaseConfig, stop: threading.Event) -> None:
    """One training, from its start or from where it was stopped.
    Raises CheckpointError, ConfigError, DemonstrationError, DeviceError, ResumeError: see their messages."""
    torch.set_num_threads(settings.threads)
    require_device("device", settings.device)
    require_own_folder(settings)
    episodes = read_episodes(settings)
    require_task_sizes(settings, episodes)
    settings.folder.mkdir(parents=True, exist_ok=True)
    data = windows_of(settings, episodes)
    log.info("%d demonstrations, %d windows", data.episodes, len(data.history))
    keep_demonstrations(settings, episodes)
    Training(settings, data, stop).run()


def main(argv: list[str]) -> int:
    if wants_help(argv):
        how = "Defaults, any of which can be set with key=value:"
        sys.stdout.write(f"{__doc__}\n{how}\n{training_defaults()}")
        return 0
    stop = stop_on_signals()
    train_base(compose_training(argv), stop)
    return 0


if __name__ == "__main__":
    run_main(main, CheckpointError, DemonstrationError, DeviceError, ResumeError, log_format=TIMED)
