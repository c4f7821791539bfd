"""Frames and decisions -> experience.

A decision closes when its frames are used up or its episode ends; then it becomes one row of the
columns that `protocol.messages.Experience` describes.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from actor.policy.decorated import Chosen, DecoratedPolicy
from actor.simulators.contract import Step, VectorEnvironment
from protocol.messages import Columns


@dataclass
class EpisodeStatistics:
    """Endings since the last look, for the heartbeat and the log."""

    episodes: int = 0
    successes: int = 0
    frames: int = 0
    recent: list[bool] = field(default_factory=list)

    def success_rate(self, last: int = 50) -> float:
        """Share of successes among the last episodes; NaN before the first."""
        newest = self.recent[-last:]
        return float(np.mean(newest)) if newest else float("nan")


class Rollout:
    """Steps the environment with the policy and collects closed decisions.

    Args:
        cameras: whose images are collected as well.
    """

    def __init__(
        self,
        envs: VectorEnvironment,
        policy: DecoratedPolicy,
        residual_every: int,
        cameras: Collection[str] = (),
    ) -> None:
        self._envs = envs
        self._policy = policy
        n, k = envs.num_envs, residual_every
        self._every = k
        self._rows = torch.arange(n)
        self._observation = torch.zeros(n, k, envs.observation_dim)
        self._action = torch.zeros(n, k, envs.action_dim)
        self._reward = torch.zeros(n, k)
        self._success = torch.zeros(n, k, dtype=torch.bool)
        self._frames = torch.zeros(n, dtype=torch.int64)
        self._episode = torch.zeros(n, dtype=torch.int64)
        self._decision = torch.zeros(n, dtype=torch.int64)
        self._closed: list[Columns] = []
        self.rows = 0
        self.statistics = EpisodeStatistics()
        self._newest = envs.reset()
        self._newest_images = envs.images
        self._images = {
            camera: torch.zeros((n, k, *envs.images[camera].shape[1:]), dtype=torch.uint8)
            for camera in cameras
        }
        policy.begin(self._newest, images=envs.images)

    def step(self) -> None:
        """One frame in every sub-environment."""
        chosen = self._policy.act()
        step = self._envs.step(chosen.action)
        self._record(chosen, step)
        closed = (self._frames == self._every) | step.ended.cpu()
        if closed.any():
            self._close(closed.nonzero()[:, 0], chosen, step)
        self._policy.observe(step.observation, step.images)
        if step.ended.any():
            self._policy.begin(step.observation, step.ended, step.images)
        self._newest, self._newest_images = step.observation, step.images
        self._count(step)

    def take(self) -> Columns:
        """All closed decisions since the last call, in time order; call when `rows` > 0."""
        parts, self._closed = self._closed, []
        first_row = np.cumsum([0] + [len(part["frames"]) for part in parts])
        for part, offset in zip(parts, first_row, strict=False):
            part["final_row"] = (part["final_row"] + offset).astype(np.int32)
        self.rows = 0
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    def _record(self, chosen: Chosen, step: Step) -> None:
        at = (self._rows, self._frames)
        self._observation[at] = self._newest.cpu()
        self._action[at] = chosen.action.cpu()
        self._reward[at] = step.reward.cpu()
        self._success[at] = step.success.cpu()
        for camera, images in self._images.items():
            images[at] = self._newest_images[camera].cpu()
        self._frames += 1

    def _close(self, rows: Tensor, chosen: Chosen, step: Step) -> None:
        terminated, truncated = step.terminated.cpu()[rows], step.truncated.cpu()[rows]
        ended = terminated | truncated
        part: dict[str, Tensor] = {
            "observation": self._observation[rows],
            "action": self._action[rows],
            "base_plan": chosen.base_plan.cpu()[rows],
            "residual": chosen.residual.cpu()[rows],
            "reward": self._reward[rows],
            "success": self._success[rows],
            "frames": self._frames[rows].int(),
            "terminated": terminated,
            "truncated": truncated,
            "sub_env": rows.int(),
            "episode": self._episode[rows],
            "decision": self._decision[rows].int(),
            "weights_version": chosen.version.cpu()[rows],
            "final_row": ended.nonzero()[:, 0].int(),
            "final_observation": step.final_observation.cpu()[rows[ended]],
            "final_base_plan": self._final_plans(rows[ended], truncated[ended], step),
        }
        for camera, images in self._images.items():
            part[f"image.{camera}"] = images[rows]
            part[f"final_image.{camera}"] = step.final_images[camera].cpu()[rows[ended]]
        self._closed.append({name: value.numpy() for name, value in part.items()})
        self.rows += len(rows)
        self._decision[rows] += 1
        self._decision[rows[ended]] = 0
        self._episode[rows[ended]] += 1
        recorded = (self._observation, self._action, self._reward, self._success, self._frames)
        for column in (*recorded, *self._images.values()):
            column[rows] = 0

    def _final_plans(self, rows: Tensor, truncated: Tensor, step: Step) -> Tensor:
        """The base's plan at each final observation: computed for truncated episodes alone, since
        nothing bootstraps from a terminated one."""
        plans = torch.zeros(len(rows), self._every, self._envs.action_dim)
        cut = rows[truncated]
        if len(cut):
            device = step.final_observation.device
            at = cut.to(device)
            images = {camera: image[at] for camera, image in step.final_images.items()}
            plans[truncated] = self._policy.plan_at(step.final_observation[at], at, images).cpu()
        return plans

    def _count(self, step: Step) -> None:
        self.statistics.frames += self._envs.num_envs
        for success in step.success[step.ended].tolist():
            self.statistics.episodes += 1
            self.statistics.successes += success
            self.statistics.recent.append(success)
