"""Offline training of the diffusion base: residual-rl train-base [preset=small] [key=value ...]

`out` becomes a base.path: args.json and checkpoints/best.pt in the published layout, beside
checkpoints/newest.pt, demos.h5, evaluations.jsonl, and training.pt, with which a stopped training goes on.
preset=small is for processors; the default, preset=published, wants a GPU. What each key means:
config/train_base/main.yaml.
"""

import logging
import threading
from pathlib import Path

import msgspec
import torch

from actor.policy.device import require_device
from actor.policy.diffusion.checkpoint import load_agent
from config.train_base import TrainBaseConfig
from learner.base_training.demonstrations import (
    keep_demonstrations,
    read_episodes,
    require_task_sizes,
    windows_of,
)
from learner.base_training.follow import follow_base
from learner.base_training.training import Training, require_own_folder
from learner.ranks.ranks import Ranks
from learner.ranks.start import joined_ranks
from learner.tracking.trackers import require_trackers

log = logging.getLogger(__name__)

_NETWORK = (
    "obs_horizon", "pred_horizon", "diffusion_step_embed_dim", "unet_dims", "n_groups", "prediction_type",
    "normalize",
)  # fmt: skip


def train_base(settings: TrainBaseConfig, stop: threading.Event) -> None:
    """One training, from its start or from where it was stopped.
    Raises CheckpointError, ConfigError, DemonstrationError, DeviceError, NonFiniteError, RankError,
    ResumeError, TrackerError: see their messages."""
    require_trackers(settings.tracking, settings.wandb)
    require_device("device", settings.device)
    settings = with_network_of(settings)
    with joined_ranks(settings.processes, settings.device, settings.threads, section="") as ranks:
        if ranks.rank:
            follow_base(ranks)
        else:
            _train_alone(settings, ranks, stop)


def with_network_of(settings: TrainBaseConfig) -> TrainBaseConfig:
    """With the network that `start_from` has. Raises CheckpointError: no such base, or it cannot be read."""
    if settings.start_from is None:
        return settings
    spec = load_agent(Path(settings.start_from)).spec
    return msgspec.structs.replace(settings, **{key: getattr(spec, key) for key in _NETWORK})


def _train_alone(settings: TrainBaseConfig, ranks: Ranks, stop: threading.Event) -> None:
    """As rank 0, the only one that reads the demonstrations and writes the base's folder."""
    torch.set_num_threads(settings.threads)
    require_own_folder(settings)
    episodes = read_episodes(settings)
    require_task_sizes(settings, episodes)
    data = windows_of(settings, episodes)
    settings.folder.mkdir(parents=True, exist_ok=True)
    log.info("%d demonstrations, %d windows", data.episodes, len(data.history))
    keep_demonstrations(settings, episodes)
    Training(settings, data, stop, ranks).run()
