"""Devices of LeRobot, in place of which stands one with the same answers."""

from enum import Enum
from typing import Any

import pytest
import torch

from actor.interventions.contract import Mark
from actor.interventions.error import InterventionError
from actor.interventions.teleop import Teleop, connect

PROPOSED = torch.tensor([[0.1] * 6 + [-1.0]])
GAMEPAD = {"delta_x": 0.5, "delta_y": -1.0, "delta_z": 0.0, "gripper": 1}


class Events(Enum):
    """As LeRobot's TeleopEvents."""

    SUCCESS = "success"
    RERECORD_EPISODE = "rerecord_episode"
    IS_INTERVENTION = "is_intervention"
    TERMINATE_EPISODE = "terminate_episode"


class Gamepad:
    """As LeRobot's gamepad."""

    def __init__(self) -> None:
        self.action: dict[str, Any] = dict(GAMEPAD)
        self.events = dict.fromkeys(Events, False)
        self.connected = True

    def get_action(self) -> dict[str, Any]:
        return self.action

    def get_teleop_events(self) -> dict[Events, bool]:
        return self.events

    def disconnect(self) -> None:
        self.connected = False


class Leader:
    """As a leader arm of LeRobot: joints from -100 to 100, no buttons."""

    def __init__(self) -> None:
        self.action = {"shoulder.pos": 10.0, "elbow.pos": -20.0}

    def get_action(self) -> dict[str, Any]:
        return self.action

    def disconnect(self) -> None:
        pass


def test_a_gamepad_acts_while_its_button_is_pressed():
    pad = Gamepad()
    teleop = Teleop(pad, 1.0, 1, 7)
    assert not teleop.act(PROPOSED).acting.any()
    pad.events[Events.IS_INTERVENTION] = True
    taken = teleop.act(PROPOSED)
    assert taken.acting.tolist() == [True]
    assert taken.action[0].tolist() == [0.5, -1.0, 0, 0, 0, 0, -1.0], "the gripper as the policy held it"
    teleop.close()
    assert not pad.connected


@pytest.mark.parametrize(("said", "gripper"), [(0, -1.0), (1, -1.0), (2, 1.0)])
def test_a_gamepad_opens_and_closes_the_gripper(said: int, gripper: float):
    pad = Gamepad()
    pad.events[Events.IS_INTERVENTION], pad.action["gripper"] = True, said
    assert Teleop(pad, 1.0, 1, 7).act(PROPOSED).action[0, -1] == gripper


@pytest.mark.parametrize(
    ("events", "mark"),
    [
        ({Events.SUCCESS}, Mark.SUCCESS),
        ({Events.TERMINATE_EPISODE}, Mark.FAILURE),
        ({Events.TERMINATE_EPISODE, Events.RERECORD_EPISODE}, Mark.THROWN_AWAY),
    ],
)
def test_its_buttons_mark_episodes(events: set[Events], mark: Mark):
    pad = Gamepad()
    pad.events |= dict.fromkeys(events, True)
    teleop = Teleop(pad, 1.0, 1, 7)
    teleop.act(PROPOSED)
    assert teleop.marks() == {0: mark}
    assert teleop.marks() == {}


def test_a_button_that_is_still_pressed_when_the_next_episode_begins_marks_one_episode():
    pad = Gamepad()
    pad.events[Events.SUCCESS] = True
    teleop = Teleop(pad, 1.0, 1, 7)
    teleop.act(PROPOSED)
    assert teleop.marks() == {0: Mark.SUCCESS}
    teleop.begin(torch.zeros(1, 3), torch.tensor([True]))
    teleop.act(PROPOSED)
    assert teleop.marks() == {}


def test_a_leader_arm_acts_while_it_moves_as_far_as_it_moved():
    arm = Leader()
    teleop = Teleop(arm, 10.0, 1, 2)
    assert not teleop.act(torch.zeros(1, 2)).acting.any()
    arm.action = {"shoulder.pos": 14.0, "elbow.pos": -20.0}
    taken = teleop.act(torch.zeros(1, 2))
    assert taken.acting.all()
    torch.testing.assert_close(taken.action, torch.tensor([[0.2, 0.0]]))
    acting = [bool(teleop.act(torch.zeros(1, 2)).acting) for _ in range(12)]
    assert acting == [True] * 9 + [False] * 3


def test_a_device_that_is_lost_leaves_the_policy_to_act(caplog: pytest.LogCaptureFixture):
    arm = Leader()
    teleop = Teleop(arm, 10.0, 1, 2)
    teleop.act(torch.zeros(1, 2))
    arm.action = {"shoulder.pos": 14.0, "elbow.pos": -20.0}
    assert teleop.act(torch.zeros(1, 2)).acting.all()
    for said in ({"shoulder.pos": float("nan"), "elbow.pos": -20.0}, {"shoulder.pos": "?", "elbow.pos": 0.0}):
        arm.action = said  # type: ignore[assignment]  # what a device should not say
        taken = teleop.act(torch.zeros(1, 2))
        assert not taken.acting.any() and taken.action.isfinite().all()
    assert caplog.text.count("is lost, the policy acts") == 1


def test_a_leader_arm_of_other_joints_is_one_line():
    with pytest.raises(InterventionError, match="2 joints, the task's actions have 7 dimensions"):
        Teleop(Leader(), 1.0, 1, 7).act(PROPOSED)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"type": "gamepad"}, "no device of the type gamepad: "),
        ({"type": "so101_leader", "port": "/dev/none"}, "no device of the type so101_leader: "),
        ({"type": "unknown"}, "type=unknown is none of LeRobot's: .*gamepad"),
        ({}, "type=None is none of LeRobot's"),
    ],
)
def test_a_device_that_is_not_there_is_one_line(settings: dict[str, Any], said: str):
    with pytest.raises(InterventionError, match=said) as raised:
        connect(settings)
    assert "\n" not in str(raised.value)
