"""Simulators whose episodes a person may end."""

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor

from actor.interventions.contract import ActionSource, Mark
from actor.simulators.around import EnvironmentAround
from actor.simulators.contract import Step, VectorEnvironment


class MarkedEnvironment(EnvironmentAround):
    """As `envs`. An episode that the source marks ends there, as the mark says: terminated with success and a
    reward of 1, or without. The next one begins as if the simulator had ended it."""

    def __init__(self, envs: VectorEnvironment, source: ActionSource) -> None:
        super().__init__(envs)
        self._source = source
        self._episode = [0] * envs.num_envs
        self.thrown_away: set[tuple[int, int]] = set()
        """(sub-environment, episode), counted as a rollout does; whoever drops one removes it."""

    def step(self, action: Tensor) -> Step:
        step = self._envs.step(action)
        if marks := self._source.marks():
            step = self._marked(step, marks)
        self.images = step.images
        for env in step.ended.nonzero()[:, 0].tolist():
            if marks.get(env) is Mark.THROWN_AWAY:
                self.thrown_away.add((env, self._episode[env]))
            self._episode[env] += 1
        return step

    def _marked(self, step: Step, marks: Mapping[int, Mark]) -> Step:
        rows = torch.tensor([*marks])
        marked = torch.zeros_like(step.success)
        marked[rows] = True
        good = torch.zeros_like(marked)
        good[rows] = torch.tensor([mark is Mark.SUCCESS for mark in marks.values()]).to(good)
        step = self._restarted(step, marked & ~step.ended)
        return replace(
            step,
            terminated=step.terminated | marked,
            truncated=step.truncated & ~marked,
            success=torch.where(marked, good, step.success),
            reward=torch.where(marked, good.to(step.reward), step.reward),
        )
