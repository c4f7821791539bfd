"""A person at a terminal, which is a real pseudo-terminal here."""

import fcntl
import os
import pty
import select
import sys
import termios
import time
from collections.abc import Iterator

import pytest
import torch

from actor.interventions.contract import Mark
from actor.interventions.error import InterventionError
from actor.interventions.keyboard import Keyboard, moves
from actor.interventions.marks import MARK_AFTER_FRAMES
from actor.interventions.terminal import Terminal
from config.section import ConfigError
from tests.support.helpers import make_config

SETTINGS = make_config("actor.keyboard.size=0.5", "actor.keyboard.hold_frames=2").actor.keyboard
PROPOSED = torch.tensor([[0.1] * 6 + [-1.0], [0.2] * 7])


PATIENCE_S = 10.0


class Person:
    """Types on the other side of a pseudo-terminal."""

    def __init__(self) -> None:
        self._master, self._slave = pty.openpty()
        self.path = os.ttyname(self._slave)

    def type(self, keys: str) -> None:
        """Returns once the kernel has handed them over."""
        typed = keys.encode()
        os.write(self._master, typed)
        until_s = time.monotonic() + PATIENCE_S
        while _waiting(self._slave) < len(typed):
            assert time.monotonic() < until_s
            time.sleep(0.001)

    def sees(self, text: str) -> bool:
        """Whether it is shown sooner or later."""
        shown, until_s = "", time.monotonic() + PATIENCE_S
        while text not in shown and time.monotonic() < until_s:
            if select.select([self._master], [], [], 0.1)[0]:
                shown += os.read(self._master, 65536).decode()
        return text in shown

    def mode(self) -> list:
        return termios.tcgetattr(self._slave)

    def leave(self) -> None:
        os.close(self._master)
        os.close(self._slave)


def _waiting(file: int) -> int:
    """Bytes that can be read."""
    return int.from_bytes(fcntl.ioctl(file, termios.FIONREAD, bytes(4)), sys.byteorder)


@pytest.fixture
def person() -> Iterator[Person]:
    one = Person()
    yield one
    one.leave()


@pytest.fixture
def keyboard(person: Person) -> Iterator[Keyboard]:
    one = Keyboard(Terminal(person.path), SETTINGS, 2, 7)
    one.begin(torch.zeros(2, 3))
    yield one
    one.close()


def test_nobody_acts_before_a_key_is_pressed(keyboard: Keyboard):
    assert keyboard.act(PROPOSED).acting.tolist() == [False, False]
    assert keyboard.marks() == {}


def test_a_key_takes_over_and_moves_for_some_frames_and_the_gripper_stays_as_it_was(
    keyboard: Keyboard, person: Person
):
    person.type("w")
    for left in (0.5, 0.5, 0.0):
        taken = keyboard.act(PROPOSED)
        assert taken.acting.tolist() == [True, False]
        assert taken.action[0].tolist() == [left, 0, 0, 0, 0, 0, -1.0]


def test_two_keys_move_two_dimensions_and_the_opposite_key_turns_round(keyboard: Keyboard, person: Person):
    person.type("wd")
    assert keyboard.act(PROPOSED).action[0, :2].tolist() == [0.5, 0.5]
    person.type("s")
    assert keyboard.act(PROPOSED).action[0, :2].tolist() == [-0.5, 0.5]


def test_space_takes_over_and_gives_back_and_g_turns_the_gripper(keyboard: Keyboard, person: Person):
    person.type(" ")
    assert keyboard.act(PROPOSED).action[0].tolist() == [0, 0, 0, 0, 0, 0, -1.0]
    person.type("g")
    assert keyboard.act(PROPOSED).action[0, -1] == 1.0
    person.type(" ")
    assert not keyboard.act(PROPOSED).acting.any()


def test_the_policy_has_the_next_episode(keyboard: Keyboard, person: Person):
    person.type(" ")
    keyboard.act(PROPOSED)
    keyboard.begin(torch.zeros(2, 3), torch.tensor([False, True]))
    assert keyboard.act(PROPOSED).acting.any()
    keyboard.begin(torch.zeros(2, 3), torch.tensor([True, False]))
    assert not keyboard.act(PROPOSED).acting.any()


@pytest.mark.parametrize(
    ("key", "mark"),
    [("\r", Mark.SUCCESS), ("\n", Mark.SUCCESS), ("\x7f", Mark.FAILURE), ("x", Mark.THROWN_AWAY)],
)
def test_a_key_marks_the_episode_once(keyboard: Keyboard, person: Person, key: str, mark: Mark):
    person.type(key)
    keyboard.act(PROPOSED)
    assert keyboard.marks() == {0: mark}
    assert keyboard.marks() == {}


def test_a_mark_that_comes_just_after_an_episodes_end_is_ignored_and_the_person_is_told(
    keyboard: Keyboard, person: Person
):
    keyboard.begin(torch.zeros(2, 3), torch.tensor([True, False]))
    person.type("\r")
    keyboard.act(PROPOSED)
    assert keyboard.marks() == {}
    assert person.sees("success is ignored: this episode has just begun")
    for _ in range(MARK_AFTER_FRAMES - 1):
        keyboard.act(PROPOSED)
        keyboard.marks()
    person.type("\r")
    keyboard.act(PROPOSED)
    assert keyboard.marks() == {0: Mark.SUCCESS}


def test_the_end_of_another_sub_environment_ignores_no_mark(keyboard: Keyboard, person: Person):
    keyboard.begin(torch.zeros(2, 3), torch.tensor([False, True]))
    person.type("x")
    keyboard.act(PROPOSED)
    assert keyboard.marks() == {0: Mark.THROWN_AWAY}


def test_the_person_is_told_the_keys_and_who_acts(keyboard: Keyboard, person: Person):
    assert person.sees("s/w a/d f/r")
    person.type("w")
    keyboard.act(PROPOSED)
    assert person.sees("you act, gripper closed")


def test_arrows_and_pages_are_keys(person: Person):
    with Terminal(person.path) as terminal:
        person.type("\x1b[A\x1b[5~\x1bOD\x1b[17~é")
        assert terminal.pressed() == ["up", "pageup", "left", "é"]


def test_the_terminal_is_left_as_it_was(person: Person):
    before = person.mode()
    terminal = Terminal(person.path)
    assert person.mode() != before
    terminal.close()
    assert person.mode() == before


def test_the_policy_acts_where_the_connection_breaks():
    person = Person()
    keyboard = Keyboard(Terminal(person.path), SETTINGS, 2, 7)
    person.type(" ")
    assert keyboard.act(PROPOSED).acting.any()
    person.leave()
    assert not keyboard.act(PROPOSED).acting.any()
    keyboard.close()


def test_a_terminal_that_is_gone_is_closed_as_any_other():
    person = Person()
    before = set(os.listdir("/proc/self/fd"))
    terminal = Terminal(person.path)
    person.leave()
    terminal.close()
    assert set(os.listdir("/proc/self/fd")) <= before


def test_keys_that_are_refused_leave_the_terminal_as_it_was(person: Person, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("actor.interventions.keyboard.Terminal", lambda: Terminal(person.path))
    before = person.mode()
    with pytest.raises(InterventionError, match="leave no key"):
        Keyboard.of(make_config().actor, 1, 1)
    assert person.mode() == before


def test_without_a_terminal_one_line_says_what_to_do(tmp_path):
    with pytest.raises(InterventionError, match="needs a terminal of its own"):
        Terminal(str(tmp_path / "none"))
    (tmp_path / "file").touch()
    with pytest.raises(InterventionError, match="needs a terminal of its own"):
        Terminal(str(tmp_path / "file"))


def test_keys_without_a_dimension_move_nothing():
    assert moves(SETTINGS, 4).keys() == {*"swadfr"}
    with pytest.raises(InterventionError, match="leave no key"):
        moves(SETTINGS, 1)


@pytest.mark.parametrize("keys", ["[w]", "[w,w]", "[g,h]", "[ww,s]", "[f13,s]", "[enter,s]"])
def test_keys_that_cannot_be_used_are_refused(keys: str):
    with pytest.raises(ConfigError, match="keys must be"):
        make_config(f"actor.keyboard.keys={keys}")
