"""ManiSkill on a host with no Vulkan device.

``render_backend="none"`` stops ManiSkill from rendering, but sapien's loaders still
build a ``RenderMaterial`` for every link, and that raises where no Vulkan device exists.
State observations never look at a material, so a plain record takes its place.
"""

from __future__ import annotations

import functools
import logging
import sys
from types import ModuleType
from typing import Any

log = logging.getLogger(__name__)


class HeadlessMaterial:
    """Stands in for ``sapien.render.RenderMaterial``: keeps what it is given, draws nothing."""

    def __init__(self, **attributes: Any) -> None:
        self.__dict__.update(attributes)

    def set_base_color(self, color: Any) -> None:
        self.base_color = color


@functools.cache
def vulkan_device_found() -> bool:
    """Whether sapien can build a render material here, which is what needs the device."""
    import sapien.render

    try:
        sapien.render.RenderMaterial()
    except RuntimeError:
        return False
    return True


def prepare_simulator() -> str:
    """Import ManiSkill so that state tasks run here, and return the render backend to ask for.

    Returns:
        ``"gpu"`` where a Vulkan device exists, else ``"none"``, after replacing the material
        class in every module that holds it. Safe to call more than once.
    """
    if vulkan_device_found():
        _register_tasks()
        return "gpu"
    import sapien.render

    # The class that is replaced, remembered on the replacement: a second call finds no original.
    original = sapien.render.RenderMaterial
    if original is not HeadlessMaterial:
        _replace_everywhere(original)
    _register_tasks()
    _replace_everywhere(original)
    return "none"


def _register_tasks() -> None:
    """ManiSkill's tasks and ours."""
    import mani_skill.envs  # noqa: F401

    import actor.tasks  # noqa: F401


def refuse_images(obs_mode: str, render_backend: str) -> None:
    """Raise RuntimeError if `obs_mode` needs pictures that this host cannot draw."""
    if render_backend == "none" and obs_mode not in ("state", "state_dict", "none"):
        raise RuntimeError(
            f"obs_mode={obs_mode} needs a Vulkan device and this host has none: "
            "use obs_mode=state, or run on a host with a GPU driver"
        )


def _replace_everywhere(original: type) -> None:
    import sapien.pysapien.render
    import sapien.wrapper.urdf_loader

    fixed: list[ModuleType] = [
        sapien.render,
        sapien.pysapien.render,
        sapien.wrapper.urdf_loader,
    ]
    importers = [
        module
        for name, module in list(sys.modules.items())
        if name.startswith(("mani_skill", "sapien")) and isinstance(module, ModuleType)
    ]
    for module in fixed + importers:
        if getattr(module, "RenderMaterial", None) is original:
            module.RenderMaterial = HeadlessMaterial  # type: ignore[attr-defined]
