"""Contacts of an episode that has just begun: none."""

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any


class _Untouched:
    """A physics system that knows of no contacts; for the rest it is the one that is given."""

    def __init__(self, system: Any) -> None:
        self._system = system

    def __getattr__(self, name: str) -> Any:
        return getattr(self._system, name)

    def get_contacts(self) -> list[Any]:
        return []


@contextmanager
def no_contacts(simulator: Any) -> Generator[None]:
    """Around a reset of a CPU simulator of ManiSkill: the first observation tells of no contacts.

    A physics system tells those of its last step, which is of the episode before: an arm that held a cube
    then would seem to hold one. In a new scene there are none, and so an episode depends on its seed alone.
    """
    scene = simulator.scene
    system = scene.px
    scene.px = _Untouched(system)
    try:
        yield
    finally:
        scene.px = system
