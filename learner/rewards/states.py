"""Training of the classifier on states: for each part of the episodes a network that never saw it."""

import logging
import threading

import numpy as np
import torch
from torch import Tensor

from actor.policy.classifier.states import StateClassifier
from config.train_reward import RewardTraining, TrainRewardConfig
from learner.replay.dataset.arrow import Array
from learner.rewards.labels import Labels

log = logging.getLogger("reward")


def train_states(
    asked: RewardTraining, observations: Array, labels: Labels, stop: threading.Event
) -> tuple[StateClassifier, Array] | None:
    """The classifier, and for each of M frames the probability by the network that was trained without its
    episode. None if `stop` was set meanwhile.
    Raises ConfigError: the task's relations read beyond the observation."""
    settings = asked.settings
    torch.manual_seed(settings.seed)
    classifier = StateClassifier(observations.shape[1], asked.relations, settings.hidden, settings.folds).to(
        settings.device
    )
    states = torch.from_numpy(observations).to(settings.device)
    classifier.scale_to(states)
    seen, held_out = classifier.seen(states), np.zeros(len(observations))
    folds = labels.folds(settings.folds, settings.seed)
    for member in range(settings.folds):
        _train(classifier, member, seen, labels.success, folds != member, settings)
        with torch.no_grad():
            probability = torch.sigmoid(classifier.logits(member, seen)).cpu().numpy()
        held_out[folds == member] = probability[folds == member]
        log.info("network %d of %d trained", member + 1, settings.folds)
        if stop.is_set():
            return None
    return classifier.eval(), held_out


def _train(
    classifier: StateClassifier,
    member: int,
    seen: Tensor,
    success: Array,
    used: Array,
    settings: TrainRewardConfig,
) -> None:
    """One network, on the frames that are `used` (M,); half of each batch is successful."""
    rng = torch.Generator().manual_seed(settings.seed + member)
    of_kind = [torch.from_numpy((used & (success == kind)).nonzero()[0]) for kind in (True, False)]
    half = settings.batch_size // 2
    wanted = torch.cat([torch.ones(half), torch.zeros(half)]).to(seen.device)
    optimizer = torch.optim.AdamW(
        classifier.members[member].parameters(), lr=settings.lr, weight_decay=settings.weight_decay
    )
    for _ in range(settings.steps):
        rows = torch.cat([kind[torch.randint(len(kind), (half,), generator=rng)] for kind in of_kind])
        noise = torch.randn(len(rows), seen.shape[1], generator=rng) * settings.observation_noise
        logits = classifier.logits(member, seen[rows.to(seen.device)] + noise.to(seen.device))
        loss = torch.nn.functional.binary_cross_entropy_with_logits(logits, wanted)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
