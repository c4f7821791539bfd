"""Any LeRobot policy, planning along recorded episodes."""

from collections.abc import Iterator
from typing import Any

import torch
from lerobot.configs.types import FeatureType
from lerobot.utils.constants import ACTION
from lerobot.utils.import_utils import register_third_party_plugins
from msgspec import structs
from torch import Tensor

from actor.policy.contract import CheckpointError
from actor.policy.lerobot.policy import LeRobotBase
from actor.policy.lerobot.saved import load_policy, load_processors, read_config
from actor.policy.noise import Use, keys_at
from config.base import LeRobotBaseConfig, Ranges
from launch.open_loop.measure import Plan
from launch.open_loop.recorded import Recorded

# How many of a plan's actions a kind of policy executes, else how many it plans.
_LENGTHS = ("n_action_steps", "act_horizon", "chunk_size", "action_chunk_size")
_ROWS = 16  # plans at once


class Planner:
    """A policy in a folder or of the Hub.

    Args:
        horizon: actions of a plan that are compared; None: as many as the policy executes.

    Raises CheckpointError: it cannot be used, see its message."""

    def __init__(self, place: str, device: str, horizon: int | None) -> None:
        register_third_party_plugins()
        settings = LeRobotBaseConfig(
            path=place,
            act_horizon=1,
            control_mode="",
            observation=None,
            cameras=None,
            instruction="",
            overrides=None,
        )
        self.place, self._device = place, device
        self.config = read_config(settings, device)
        if ACTION not in (self.config.output_features or {}):
            raise CheckpointError(f"{place}, of type {self.config.type}, gives no actions: not a policy")
        found = (getattr(self.config, name, None) for name in _LENGTHS)
        self.horizon = horizon or next((length for length in found if length), 1)
        self._settings = structs.replace(settings, act_horizon=self.horizon)
        try:
            self._policy, statistics = load_policy(self.config, place)
        except ImportError as error:
            raise CheckpointError(
                f"{place} is a {self.config.type} policy, and a package for it is missing: {error}"
            ) from error
        self._processors = load_processors(self.config, place, device, statistics)
        self._by_instruction: dict[str, LeRobotBase] = {}

    @property
    def states(self) -> dict[str, tuple[int, ...]]:
        """Features beside images, with their shapes."""
        return {
            name: tuple(each.shape)
            for name, each in self._inputs.items()
            if each.type is not FeatureType.VISUAL
        }

    @property
    def pictures(self) -> dict[str, tuple[int, ...]]:
        """Image features, with their shapes."""
        return {
            name: tuple(each.shape) for name, each in self._inputs.items() if each.type is FeatureType.VISUAL
        }

    @property
    def _inputs(self) -> dict[str, Any]:
        return self.config.input_features or {}

    def plans(self, recorded: Recorded, every: int) -> Iterator[Plan]:
        """What it plans at frames 0, every, 2 * every, ... of an episode."""
        base = self._base(recorded.instruction)
        observations = torch.cat([recorded.observations[name] for name in self.states], dim=1)
        starts = list(range(0, len(recorded.actions), every))
        for first in range(0, len(starts), _ROWS):
            at = starts[first : first + _ROWS]
            shown = {name: _histories(recorded.images[name], at, base.obs_horizon) for name in self.pictures}
            keys = keys_at(recorded.index, at, Use.BASE)
            planned = base.plan(_histories(observations, at, base.obs_horizon), keys, shown).cpu()
            for frame, actions in zip(at, planned, strict=True):
                done = recorded.actions[frame : frame + self.horizon]
                yield Plan(recorded.index, frame, actions.numpy(), done.numpy())

    def _base(self, instruction: str) -> LeRobotBase:
        """The policy with this instruction."""
        if instruction not in self._by_instruction:
            fields, end = dict[str, Ranges](), 0
            for name, (size,) in self.states.items():
                fields[name] = ((end, end + size),)
                end += size
            settings = structs.replace(self._settings, instruction=instruction)
            self._by_instruction[instruction] = LeRobotBase(
                self._policy, self._processors, fields, settings, observation_dim=end,
                feature_cameras={name: name for name in self.pictures}, device=self._device,
            )  # fmt: skip
        return self._by_instruction[instruction]


def _histories(frames: Tensor, at: list[int], steps: int) -> Tensor:
    """(R, steps, ...): the frames up to each of `at`; the first one stands for those before it."""
    back = torch.arange(1 - steps, 1)
    return frames[(torch.tensor(at)[:, None] + back).clamp_min(0)]
