"""Simulators whose episodes a classifier ends and rewards."""

import dataclasses

import torch
from torch import Tensor

from actor.policy.classifier.contract import SuccessClassifier
from actor.policy.images import Images
from actor.simulators.around import EnvironmentAround
from actor.simulators.contract import Step, VectorEnvironment


class JudgedEnvironment(EnvironmentAround):
    """Of `envs`, which do not end episodes at their own success. Success is what a classifier calls success
    for `frames` frames in a row: it ends the episode, with reward 1. `Step.true_success` is what the
    simulator says."""

    def __init__(self, envs: VectorEnvironment, classifier: SuccessClassifier, frames: int) -> None:
        super().__init__(envs)
        self._classifier, self._needed = classifier, frames
        self._in_a_row = torch.zeros(envs.num_envs, dtype=torch.int64)

    def reset(self, seed: int | None = None) -> Tensor:
        self._in_a_row.zero_()
        return super().reset(seed)

    def step(self, action: Tensor) -> Step:
        step = self._envs.step(action)
        success = self._judge(step)
        judged = dataclasses.replace(
            step,
            reward=success.to(step.reward.dtype),
            terminated=step.terminated | success,
            truncated=step.truncated & ~success,
            success=success,
            true_success=step.success,
        )
        # Where the task ended an episode in this frame, the next one has begun already.
        judged = self._restarted(judged, success & ~step.ended)
        self.images = judged.images
        self._in_a_row[judged.ended.cpu()] = 0
        return judged

    def restart(self, rows: Tensor) -> tuple[Tensor, Images]:
        self._in_a_row[rows.cpu()] = 0
        return super().restart(rows)

    def _judge(self, step: Step) -> Tensor:
        """(N,) bool: the frame completes as many in a row as are needed."""
        likely = self._classifier.probability(step.final_observation, step.final_images)
        looks = (likely >= self._classifier.threshold).cpu()
        self._in_a_row = torch.where(looks, self._in_a_row + 1, 0)
        return (self._in_a_row >= self._needed).to(step.reward.device)
