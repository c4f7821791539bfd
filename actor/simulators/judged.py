"""Simulators whose episodes a classifier ends and rewards."""

import dataclasses
from typing import Protocol

import torch
from torch import Tensor

from actor.policy.classifier.contract import SuccessClassifier
from actor.policy.images import Images
from actor.simulators.contract import Step, VectorEnvironment


class EndlessEnvironment(VectorEnvironment, Protocol):
    """Episodes end at the task's limit alone, whatever the simulator says, and where they are told to."""

    def restart(self, rows: Tensor) -> Tensor:
        """Begin the next episodes in sub-environments `rows` (N,) bool; the newest observations (N, O) of
        all, and `images` too."""
        ...


class JudgedEnvironment:
    """Success is what a classifier calls success for `frames` frames in a row: it ends the episode, with
    reward 1. `Step.true_success` is what the simulator says."""

    def __init__(self, envs: EndlessEnvironment, classifier: SuccessClassifier, frames: int) -> None:
        self._envs, self._classifier, self._needed = envs, classifier, frames
        self.num_envs = envs.num_envs
        self.observation_dim, self.action_dim = envs.observation_dim, envs.action_dim
        self._in_a_row = torch.zeros(envs.num_envs, dtype=torch.int64)

    @property
    def images(self) -> Images:
        return self._envs.images

    def reset(self, seed: int | None = None) -> Tensor:
        self._in_a_row.zero_()
        return self._envs.reset(seed)

    def step(self, action: Tensor) -> Step:
        step = self._envs.step(action)
        success = self._judge(step)
        judged = dataclasses.replace(
            step,
            reward=success.to(step.reward.dtype),
            terminated=success,
            truncated=step.truncated & ~success,
            success=success,
            true_success=step.success,
        )
        # Where the limit ended an episode in this frame, the next one has begun already.
        ends = success & ~step.truncated
        if ends.any():
            observation = self._envs.restart(ends)
            judged = dataclasses.replace(judged, observation=observation, images=self._envs.images)
        self._in_a_row[judged.ended.cpu()] = 0
        return judged

    def _judge(self, step: Step) -> Tensor:
        """(N,) bool: the frame completes as many in a row as are needed."""
        likely = self._classifier.probability(step.final_observation, step.final_images)
        looks = (likely >= self._classifier.threshold).cpu()
        self._in_a_row = torch.where(looks, self._in_a_row + 1, 0)
        return (self._in_a_row >= self._needed).to(step.reward.device)

    def close(self) -> None:
        self._envs.close()
