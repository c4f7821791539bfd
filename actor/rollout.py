"""Frames and decisions -> experience.

A decision closes when its frames are used up or its episode ends; then it becomes one row of the
columns that `protocol.experience` defines.
"""

from collections import deque
from collections.abc import Mapping
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from actor.policy.decorated import Chosen
from actor.policy.features import Planned
from actor.policy.images import NO_IMAGES, Images, tensor_of
from actor.simulators.contract import RestingEnvironment, Step, VectorEnvironment
from protocol.arrays import DTYPES, Columns
from protocol.experience import FINAL_IMAGE_PREFIX, IMAGE_PREFIX, ExperienceSpec, Per, columns_of, zeros


class ActingPolicy(Protocol):
    """What a rollout asks of a policy, see `actor.policy.decorated.DecoratedPolicy`."""

    def begin(self, observation: Tensor, fresh: Tensor | None = None, images: Images = NO_IMAGES) -> None: ...

    def observe(self, observation: Tensor, images: Images = NO_IMAGES) -> None: ...

    def act(self) -> Chosen: ...

    def act_in(self, acting: Tensor) -> Chosen: ...

    def plan_at(self, observation: Tensor, rows: Tensor, images: Images = NO_IMAGES) -> Planned: ...


class Rollout:
    """Steps the environment with the policy and collects closed decisions, with the columns of `spec`.

    Args:
        first_seed: of the episodes, as in `VectorEnvironment.reset`; the policy's too.
    """

    def __init__(
        self,
        envs: VectorEnvironment,
        policy: ActingPolicy,
        spec: ExperienceSpec,
        first_seed: int | None = None,
    ) -> None:
        self._envs, self._policy, self._spec = envs, policy, spec
        self.sub_envs = envs.num_envs
        self._dtypes = {column.name: DTYPES[column.dtype] for column in columns_of(spec)}
        n, empty = envs.num_envs, zeros(spec, rows=envs.num_envs, ends=0)
        # Of the decisions under way.
        self._recorded = {
            column.name: tensor_of(empty[column.name])
            for column in columns_of(spec)
            if column.per is Per.FRAME
        }
        self._rows = torch.arange(n)
        self._frames, self._episode, self._decision = torch.zeros(3, n, dtype=torch.int64)
        self._closed: deque[Columns] = deque()
        self.rows = 0
        """Closed decisions to take."""
        self.frames = 0
        """Executed in all sub-environments together."""
        self.episodes = 0
        """Ended in all sub-environments together."""
        self._newest, self._images = envs.reset(first_seed), envs.images
        policy.begin(self._newest, images=self._images)

    waits = False
    """Whether the next frame is to be played with newer weights."""
    takes_weights = True
    """Whether newer weights may be adopted now."""

    def go_on(self) -> None:
        """No newer weights have come: play on with those that there are."""

    def step(self) -> None:
        """One frame in every sub-environment."""
        self.step_in(None)

    def step_in(self, acting: Tensor | None) -> Step:
        """One frame in sub-environments `acting` (N,) bool, the others rest; None: in all."""
        if acting is None:
            chosen, rows = self._policy.act(), self._rows
            step = self._envs.step(chosen.action)
        else:
            chosen, rows = self._policy.act_in(acting), acting.nonzero()[:, 0]
            assert isinstance(self._envs, RestingEnvironment), "configurations of rounds simulate on CPUs"
            step = self._envs.step_in(chosen.action, acting)
        self._record(rows, chosen, step)
        closed = (self._frames == self._spec.residual_every) | step.ended.cpu()
        if closed.any():
            self._close(closed.nonzero()[:, 0], chosen, step)
        self._policy.observe(step.observation, step.images)
        if step.ended.any():
            self._policy.begin(step.observation, step.ended, step.images)
        self._newest, self._images = step.observation, step.images
        self.frames += len(rows)
        self.episodes += int(step.ended.sum())
        return step

    def take(self, enough: int | None = None) -> Columns:
        """The oldest closed decisions, in time order; call when `rows` > 0.

        Args:
            enough: rows to take, and what closed in the same frame as the last of them; None: all.
        """
        columns = take_first(self._closed, self.rows if enough is None else enough)
        self.rows -= len(columns["frames"])
        return columns

    def _record(self, rows: Tensor, chosen: Chosen, step: Step) -> None:
        """Note what belongs to the frame just executed in sub-environments `rows`."""
        values = {
            "observation": self._newest,
            "action": chosen.action,
            "reward": step.reward,
            "success": step.success,
            **_with_prefix(IMAGE_PREFIX, self._images),
            **({} if step.true_success is None else {"true_success": step.true_success}),
            **chosen.optional,
        }
        for name, recorded in self._recorded.items():
            recorded[rows, self._frames[rows]] = values[name].cpu()[rows]
        self._frames[rows] += 1

    def _close(self, rows: Tensor, chosen: Chosen, step: Step) -> None:
        """Make the decisions of these sub-environments rows, and begin their next ones."""
        terminated, truncated = step.terminated.cpu()[rows], step.truncated.cpu()[rows]
        ended = terminated | truncated
        decided = {
            "base_plan": chosen.base_plan,
            "residual": chosen.residual,
            "weights_version": chosen.version,
        }
        values = {
            **{name: value.cpu()[rows] for name, value in {**chosen.optional, **decided}.items()},
            **{name: recorded[rows] for name, recorded in self._recorded.items()},
            "frames": self._frames[rows],
            "terminated": terminated,
            "truncated": truncated,
            "sub_env": rows,
            "episode": self._episode[rows],
            "decision": self._decision[rows],
            "final_row": ended.nonzero()[:, 0],
            **self._finals(rows[ended], truncated[ended], step),
        }
        batch = {name: values[name].numpy().astype(dtype, copy=False) for name, dtype in self._dtypes.items()}
        self._closed.append(batch)
        self.rows += len(rows)
        self._decision[rows] += 1
        self._decision[rows[ended]] = 0
        self._episode[rows[ended]] += 1
        for started in (self._frames, *self._recorded.values()):
            started[rows] = 0

    def _finals(self, rows: Tensor, truncated: Tensor, step: Step) -> dict[str, Tensor]:
        """What belongs to the episode ends of sub-environments `rows`.

        The base is asked only for truncated episodes: nothing bootstraps from a terminated one.
        """
        device = step.final_observation.device
        plans = torch.zeros(len(rows), self._spec.residual_every, self._envs.action_dim)
        features = torch.zeros(len(rows), self._spec.features_dim, dtype=torch.float16)
        cut = rows[truncated].to(device)
        if len(cut):
            images = {camera: image[cut] for camera, image in step.final_images.items()}
            found = self._policy.plan_at(step.final_observation[cut], cut, images)
            plans[truncated], features[truncated] = (part.cpu() for part in found)
        seen = {
            "final_observation": step.final_observation,
            **_with_prefix(FINAL_IMAGE_PREFIX, step.final_images),
        }
        sent = {name: value.cpu()[rows] for name, value in seen.items() if name in self._dtypes}
        return {"final_base_plan": plans, "final_features": features, **sent}


def take_first(batches: deque[Columns], enough: int) -> Columns:
    """Remove the first batches, until they have `enough` rows; returns them as one."""
    taken, rows = list[Columns](), 0
    while batches and rows < enough:
        batch = batches.popleft()
        batch["final_row"] += rows
        rows += len(batch["frames"])
        taken.append(batch)
    return {name: np.concatenate([batch[name] for batch in taken]) for name in taken[0]}


def _with_prefix(prefix: str, images: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {prefix + camera: image for camera, image in images.items()}
