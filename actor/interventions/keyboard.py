"""A person at a terminal, who drives the robot of sub-environment 0 by keys."""

import logging
from collections.abc import Mapping
from typing import Self

import torch
from torch import Tensor

from actor.interventions.contract import Intervention, Mark
from actor.interventions.error import InterventionError
from actor.interventions.marks import MARKS, Marks
from actor.interventions.terminal import Terminal
from actor.policy.images import NO_IMAGES, Images
from config.actor import ActorConfig, KeyboardConfig

log = logging.getLogger(__name__)

HANDOVER, GRIPPER = "space", "g"


class Keyboard:
    """An `ActionSource`. Any key that moves the robot takes it over; the person has it until they give it
    back, or the episode ends."""

    marks_episodes = True

    def __init__(self, terminal: Terminal, settings: KeyboardConfig, num_envs: int, action_dim: int) -> None:
        """Raises InterventionError: no action dimension has keys."""
        self._terminal, self._settings = terminal, settings
        self._moves = moves(settings, action_dim)
        self._action = torch.zeros(num_envs, action_dim)
        self._acting = torch.zeros(num_envs, dtype=torch.bool)
        # Of each dimension: for how many more frames a key acts, and in which direction.
        self._left, self._direction = [0] * action_dim, [0.0] * action_dim
        self._gripper = 1.0
        self._marks = Marks(terminal.say)
        self._taken_frames = 0
        terminal.say(help_text(settings, action_dim) + "\n")

    @classmethod
    def of(cls, settings: ActorConfig, num_envs: int, action_dim: int) -> Self:
        """At the terminal of this process.
        Raises InterventionError: it has none, or no action dimension has keys."""
        moves(settings.keyboard, action_dim)  # refuses keys before the terminal is changed
        return cls(Terminal(), settings.keyboard, num_envs, action_dim)

    def begin(self, observation: Tensor, fresh: Tensor | None = None, images: Images = NO_IMAGES) -> None:
        """The policy has the next episode."""
        if fresh is None or bool(fresh[0]):
            self._hand_over(False)
        if fresh is not None and bool(fresh[0]):
            self._marks.begin()

    def observe(self, observation: Tensor, images: Images = NO_IMAGES) -> None:
        """Nothing."""

    def act(self, proposed: Tensor) -> Intervention:
        for key in self._terminal.pressed():
            self._press(key, proposed)
        if self._terminal.gone:
            self._acting[0] = False
        for dim, left in enumerate(self._left):
            self._action[0, dim] = self._direction[dim] * self._settings.size if left else 0.0
            self._left[dim] = max(0, left - 1)
        if self._settings.gripper:
            self._action[0, -1] = self._gripper
        return Intervention(self._acting.clone(), self._action.clone())

    def marks(self) -> Mapping[int, Mark]:
        return self._marks.take()

    def close(self) -> None:
        self._terminal.close()

    def _press(self, key: str, proposed: Tensor) -> None:
        if key in MARKS:
            self._marks.add(MARKS[key])
        elif key == HANDOVER:
            self._take(proposed) if not self._acting[0] else self._hand_over(False)
        elif key == GRIPPER and self._settings.gripper:
            self._take(proposed)
            self._gripper = -self._gripper
            self._say()
        elif key in self._moves:
            self._take(proposed)
            dim, direction = self._moves[key]
            self._left[dim], self._direction[dim] = self._settings.hold_frames, direction

    def _take(self, proposed: Tensor) -> None:
        """Begin where the policy is: with the gripper as it holds it."""
        if not self._acting[0]:
            self._gripper = 1.0 if proposed[0, -1] >= 0 else -1.0
            self._hand_over(True)

    def _hand_over(self, to_person: bool) -> None:
        self._acting[0] = to_person
        self._left = [0] * len(self._left)
        self._say()

    def _say(self) -> None:
        who = "you act" if self._acting[0] else "the policy acts"
        gripper = f", gripper {'open' if self._gripper > 0 else 'closed'}" if self._acting[0] else ""
        self._terminal.say(who + (gripper if self._settings.gripper else ""))


def moves(settings: KeyboardConfig, action_dim: int) -> dict[str, tuple[int, float]]:
    """Key -> action dimension and direction. Raises InterventionError: there are none."""
    dims = min(action_dim - settings.gripper, len(settings.keys) // 2)
    if dims < 1:
        raise InterventionError(
            f"actor.keyboard.keys={list(settings.keys)} leave no key for an action dimension of {action_dim}"
        )
    pairs = zip(settings.keys[::2], settings.keys[1::2], strict=True)
    found: dict[str, tuple[int, float]] = {}
    for dim, (less, more) in zip(range(dims), pairs, strict=False):
        found |= {less: (dim, -1.0), more: (dim, 1.0)}
    return found


def help_text(settings: KeyboardConfig, action_dim: int) -> str:
    """The keys, in one line."""
    pairs = [f"{less}/{more}" for less, more in zip(settings.keys[::2], settings.keys[1::2], strict=True)]
    dims = min(action_dim - settings.gripper, len(pairs))
    gripper = ", g gripper" if settings.gripper else ""
    return (
        f"{' '.join(pairs[:dims])} move (-/+ of action dimensions 0 to {dims - 1}){gripper}, space take over "
        "and give back, enter success, backspace failure, x throw the episode away"
    )
