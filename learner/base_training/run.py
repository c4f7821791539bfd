"""Offline training of the diffusion base: residual-rl train-base [preset=small] [key=value ...]

`out` becomes a base.path: args.json and checkpoints/best.pt in the published layout, beside
checkpoints/newest.pt, demos.h5, evaluations.jsonl, and training.pt, with which a stopped training goes on.
preset=small is for processors; the default, preset=published, wants a GPU. What each key means:
config/train_base/main.yaml.
"""

import logging
import threading

import torch

from actor.policy.device import require_device
from config.train_base import TrainBaseConfig
from learner.base_training.demonstrations import (
    keep_demonstrations,
    read_episodes,
    require_task_sizes,
    windows_of,
)
from learner.base_training.training import Training, require_own_folder
from learner.tracking.trackers import require_trackers

log = logging.getLogger(__name__)


def train_base(settings: TrainBaseConfig, stop: threading.Event) -> None:
    """One training, from its start or from where it was stopped.
    Raises CheckpointError, ConfigError, DemonstrationError, DeviceError, NonFiniteError, ResumeError,
    TrackerError: see their messages."""
    torch.set_num_threads(settings.threads)
    require_trackers(settings.tracking, settings.wandb)
    require_device("device", settings.device)
    require_own_folder(settings)
    episodes = read_episodes(settings)
    require_task_sizes(settings, episodes)
    data = windows_of(settings, episodes)
    settings.folder.mkdir(parents=True, exist_ok=True)
    log.info("%d demonstrations, %d windows", data.episodes, len(data.history))
    keep_demonstrations(settings, episodes)
    Training(settings, data, stop).run()
