"""A person with a device that LeRobot knows: a gamepad, a keyboard under X, a leader arm."""

import contextlib
import importlib
import logging
import math
import pkgutil
from collections.abc import Mapping
from numbers import Real
from typing import Any, Protocol, Self

import torch
from torch import Tensor

from actor.interventions.contract import Intervention, Mark
from actor.interventions.error import InterventionError
from actor.interventions.marks import MARKS, Marks
from actor.interventions.terminal import Terminal
from actor.policy.images import NO_IMAGES, Images
from config.actor import ActorConfig
from config.process import one_line

log = logging.getLogger(__name__)

# Of a device that gives steps: its names of the first action dimensions.
STEPS = ("delta_x", "delta_y", "delta_z", "delta_roll", "delta_pitch", "delta_yaw")
# What such a device says of the gripper: 0 close, 1 stay, 2 open.
_STAY = 1.0
# A leader arm acts while it moves by more than this share of its range in a frame, and for some frames after.
_MOVES, _REST_FRAMES = 0.005, 10
# Of a leader arm: what LeRobot calls the whole range of a joint, -100 to 100.
_RANGE = 200.0


class Device(Protocol):
    """LeRobot's Teleoperator; those with buttons also have `get_teleop_events`."""

    def get_action(self) -> dict[str, Any]: ...

    def disconnect(self) -> None: ...


class Teleop:
    """An `ActionSource`: the device drives the robot of sub-environment 0.

    Args:
        scale: actor.teleop_scale.
        terminal: where enter, backspace and x mark episodes, for a device without buttons; None: nowhere.
    """

    marks_episodes = True

    def __init__(
        self, device: Device, scale: float, num_envs: int, action_dim: int, terminal: Terminal | None = None
    ) -> None:
        self._device, self._scale, self._terminal = device, scale, terminal
        self._action = torch.zeros(num_envs, action_dim)
        self._acting = torch.zeros(num_envs, dtype=torch.bool)
        self._before: list[float] | None = None
        self._still, self._gripper = _REST_FRAMES, 1.0
        self._marks = Marks(log.info if terminal is None else terminal.say)
        self._lost = False

    @classmethod
    def of(cls, settings: ActorConfig, num_envs: int, action_dim: int) -> Self:
        """The device of actor.teleop. Raises InterventionError: there is no such device."""
        device = connect(settings.teleop or {})
        terminal = None
        if not hasattr(device, "get_teleop_events"):
            with contextlib.suppress(InterventionError):
                terminal = Terminal()
        return cls(device, settings.teleop_scale, num_envs, action_dim, terminal)

    def begin(self, observation: Tensor, fresh: Tensor | None = None, images: Images = NO_IMAGES) -> None:
        """Who holds the device goes on."""
        if fresh is not None and bool(fresh[0]):
            self._marks.begin()

    def observe(self, observation: Tensor, images: Images = NO_IMAGES) -> None:
        """Nothing."""

    def act(self, proposed: Tensor) -> Intervention:
        try:
            self._ask(proposed)
        except InterventionError:
            raise
        except Exception as error:  # each device has errors of its own, as where it is pulled out
            if not self._lost:
                log.warning("the device of actor.teleop is lost, the policy acts: %s", one_line(error))
            self._lost = True
            self._acting[0] = False
        if self._terminal is not None:
            for key in self._terminal.pressed():
                if key in MARKS:
                    self._marks.add(MARKS[key])
        return Intervention(self._acting.clone(), self._action.clamp(-1, 1))

    def marks(self) -> Mapping[int, Mark]:
        return self._marks.take()

    def close(self) -> None:
        if self._terminal is not None:
            self._terminal.close()
        with contextlib.suppress(Exception):  # one that is gone says so, each in its own way
            self._device.disconnect()

    def _ask(self, proposed: Tensor) -> None:
        said = self._device.get_action()
        if not all(math.isfinite(value) for value in said.values() if isinstance(value, Real)):
            raise ValueError(f"it says {said}")
        if "delta_x" in said:
            self._step(said, proposed)
        else:
            self._follow([float(value) for name, value in said.items() if name.endswith(".pos")])
        if self._lost:
            log.info("the device of actor.teleop is back")
        self._lost = False

    def _step(self, said: Mapping[str, Any], proposed: Tensor) -> None:
        """Of a device that gives steps, and says whether a person acts."""
        events = {key.value: value for key, value in self._device.get_teleop_events().items()}  # type: ignore[attr-defined] # of those with buttons
        before, self._acting[0] = bool(self._acting[0]), bool(events.get("is_intervention"))
        if self._acting[0] and not before:
            self._gripper = 1.0 if proposed[0, -1] >= 0 else -1.0
        dims = self._action.shape[1]
        for dim, name in zip(range(dims), STEPS, strict=False):
            self._action[0, dim] = self._scale * float(said.get(name, 0.0))
        if "gripper" in said:
            if (gripper := float(said["gripper"])) != _STAY:
                self._gripper = gripper - _STAY
            self._action[0, -1] = self._gripper
        self._mark(events)

    def _follow(self, joints: list[float]) -> None:
        """Of a leader arm: as far as its joints moved since the frame before."""
        if len(joints) != self._action.shape[1]:
            raise InterventionError(
                f"actor.teleop: the device has {len(joints)} joints, the task's actions have "
                f"{self._action.shape[1]} dimensions: choose a control mode of as many joints"
            )
        before, self._before = self._before or joints, joints
        moved = torch.tensor([(now - then) / _RANGE for now, then in zip(joints, before, strict=True)])
        self._still = 0 if moved.abs().max() > _MOVES else self._still + 1
        self._acting[0] = self._still < _REST_FRAMES
        self._action[0] = self._scale * moved

    def _mark(self, events: Mapping[str, Any]) -> None:
        if events.get("rerecord_episode"):
            self._marks.add(Mark.THROWN_AWAY)
        elif events.get("success"):
            self._marks.add(Mark.SUCCESS)
        elif events.get("terminate_episode"):
            self._marks.add(Mark.FAILURE)


def connect(settings: Mapping[str, Any]) -> Device:
    """A device of LeRobot, ready to be asked. Raises InterventionError: there is none as configured."""
    try:
        from lerobot import teleoperators
        from lerobot.teleoperators import TeleoperatorConfig, make_teleoperator_from_config
    except ModuleNotFoundError as error:
        raise InterventionError(
            f"actor.intervene=teleop needs LeRobot ({error}): pip install -e '.[learner]' brings it"
        ) from error
    for module in pkgutil.iter_modules(teleoperators.__path__, "lerobot.teleoperators."):
        with contextlib.suppress(ImportError):  # of the package of another device
            importlib.import_module(module.name)
    words, known = dict(settings), TeleoperatorConfig.get_known_choices()
    kind = str(words.pop("type", None))
    if kind not in known:
        raise InterventionError(f"actor.teleop.type={kind} is none of LeRobot's: {', '.join(sorted(known))}")
    try:
        device = make_teleoperator_from_config(known[kind](**words))
        device.connect()
        # Some log that there is nothing, and return.
        found = device.is_connected and getattr(getattr(device, "gamepad", None), "running", True)
    except Exception as error:  # each device has errors of its own: of its package, its port, its settings
        reason = one_line(error)
    else:
        if found:
            return device
        reason = "none is connected"
    raise InterventionError(f"actor.teleop: no device of the type {kind}: {reason}")
