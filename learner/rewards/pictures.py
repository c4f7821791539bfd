"""Training of LeRobot's reward classifier on the pictures of replays, and of other LeRobot datasets."""

import logging
import threading
from typing import Any

import numpy as np
import torch

from actor.policy.classifier.files import Description, write_description
from actor.policy.lerobot.classifier import as_input, feature_of, make_model, save_pictures
from config.train_reward import RewardTraining, TrainRewardConfig
from learner.replay.dataset.arrow import Array
from learner.replay.prior.error import DemonstrationError
from learner.rewards.labels import Labels, labels_of, read_episodes
from learner.rewards.report import Report, make_report
from learner.rewards.seen import read_pictures
from protocol.pictures import depths_in

log = logging.getLogger("reward")

_PER_PASS = 256


def train_on_pictures(asked: RewardTraining, stop: threading.Event) -> Report | None:
    """Train, choose the threshold, and write the classifier's folder; None if `stop` was set meanwhile.
    Raises CheckpointError: the encoder. DemonstrationError: data without pictures of these cameras, or with
    labels of one class."""
    settings, task = asked.settings, asked.task
    if depths := depths_in(task.cameras):
        raise DemonstrationError(f"task.cameras names {', '.join(depths)}: a classifier sees colours alone")
    labels = labels_of(read_episodes(asked), settings.sources)
    cameras = {camera: feature_of(camera) for camera in task.cameras}
    pictures, labels = read_pictures(settings.sources, cameras, task.camera_size, labels)
    model = make_model(task.cameras, task.camera_size, settings.encoder, settings.device)
    held_out = labels.folds(settings.folds, settings.seed) == 0
    if not _train(model, pictures, labels, ~held_out, settings, stop):
        return None
    probability = _probabilities(model, [values[held_out] for values in pictures.values()], settings.device)
    _, numbers = np.unique(labels.episode[held_out], return_inverse=True)
    report = make_report(asked, Labels(labels.success[held_out], numbers), probability)
    save_pictures(settings.folder, model, settings.encoder)
    write_description(
        settings.folder,
        Description(
            kind="pictures",
            env_id=task.env_id,
            observation_dim=0,
            threshold=report.threshold,
            cameras=task.cameras,
            camera_size=task.camera_size,
        ),
    )
    report.write(asked)
    return report


def _train(
    model: Any,
    pictures: dict[str, Array],
    labels: Labels,
    used: Array,
    settings: TrainRewardConfig,
    stop: threading.Event,
) -> bool:
    """Half of each batch is successful. False if `stop` was set meanwhile."""
    rng = np.random.default_rng(settings.seed)
    torch.manual_seed(settings.seed)
    kinds = [(used & (labels.success == kind)).nonzero()[0] for kind in (True, False)]
    if not all(len(kind) for kind in kinds):
        raise DemonstrationError("what is not held out has labels of one class: give more episodes")
    half = settings.batch_size // 2
    wanted = torch.cat([torch.ones(half), torch.zeros(half)]).to(settings.device)
    optimizer = torch.optim.AdamW(
        (each for each in model.parameters() if each.requires_grad),
        lr=settings.lr,
        weight_decay=settings.weight_decay,
    )
    model.train()
    model.encoder.eval()  # frozen: its running means too
    for step in range(settings.steps):
        rows = np.concatenate([rng.choice(kind, half) for kind in kinds])
        batch: dict[str, Any] = {
            feature_of(camera): as_input(torch.from_numpy(values[rows]).to(settings.device))
            for camera, values in pictures.items()
        }
        loss, _ = model(batch | {"next.reward": wanted})
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        if stop.is_set():
            return False
        if (step + 1) % 100 == 0:
            log.info("%d of %d updates, loss %.3f", step + 1, settings.steps, loss.item())
    model.eval()
    return True


@torch.no_grad()
def _probabilities(model: Any, pictures: list[Array], device: str) -> Array:
    parts = []
    for first in range(0, len(pictures[0]), _PER_PASS):
        rows = [torch.from_numpy(each[first : first + _PER_PASS]).to(device) for each in pictures]
        parts.append(model.predict([as_input(each) for each in rows]).probabilities.reshape(-1).cpu())
    return torch.cat(parts).numpy()
