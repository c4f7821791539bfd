"""residual-rl train-reward: from labelled episodes to a classifier, and a report of its errors."""

import logging
import threading

import numpy as np
import torch

from actor.policy.classifier.files import Description, save_states
from actor.policy.device import require_device
from config.train_reward import RewardTraining
from config.trust import trusting
from learner.rewards.labels import Labels, labels_of, read_episodes
from learner.rewards.report import Report, make_report
from learner.rewards.states import train_states

log = logging.getLogger("reward")


def train_reward(asked: RewardTraining, stop: threading.Event) -> Report | None:
    """Train, choose the threshold, and write the classifier's folder; None if `stop` was set meanwhile.
    Raises ConfigError, DemonstrationError, DeviceError: see their messages."""
    settings = asked.settings
    require_device("device", settings.device)
    torch.set_num_threads(settings.threads)
    if settings.input == "pictures":
        from learner.rewards.pictures import train_on_pictures  # LeRobot takes seconds

        with trusting(asked.trust_remote_code):
            return train_on_pictures(asked, stop)
    episodes = read_episodes(asked)
    labels = labels_of(episodes, settings.sources)
    _say_labels(labels)
    observations = np.concatenate([episode.observations for episode in episodes])
    trained = train_states(asked, observations, labels, stop)
    if trained is None:
        return None
    classifier, probability = trained
    report = make_report(asked, labels, probability)
    description = Description(
        kind="states",
        env_id=asked.task.env_id,
        observation_dim=observations.shape[1],
        threshold=report.threshold,
        relations=asked.relations,
        hidden=settings.hidden,
        members=settings.folds,
    )
    save_states(settings.folder, classifier, description)
    report.write(asked)
    return report


def _say_labels(labels: Labels) -> None:
    log.info(
        "%d episodes, %d of them successful; %d frames, %d of them successful",
        len(labels.succeeds), labels.succeeds.sum(), len(labels.success), labels.success.sum(),
    )  # fmt: skip
