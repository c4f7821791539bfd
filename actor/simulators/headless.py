"""ManiSkill on a host with no Vulkan device, or with a software device only.

``render_backend="none"`` stops ManiSkill from rendering, but sapien's loaders still
build a ``RenderMaterial`` for every link, and that raises where no Vulkan device exists.
State observations never look at a material, so a plain record takes its place.

Cameras need a device. The processor can be one: with Debian's ``chromium`` comes a Vulkan driver that draws
without a GPU, slowly. ManiSkill cannot name its device, so we do.
"""

import contextlib
import functools
import logging
import os
import sys
import warnings
from collections.abc import Generator
from pathlib import Path
from types import ModuleType
from typing import Any

from actor.simulators.contract import RenderError

log = logging.getLogger(__name__)

# Sapien warns at every import where it uses its own loader of Vulkan, which works as well.
warnings.filterwarnings("ignore", message="Failed to find system libvulkan")

# Which drivers Vulkan's loader finds.
_DRIVER_VARIABLES = ("VK_DRIVER_FILES", "VK_ICD_FILENAMES")
# SwiftShader, of Debian's chromium.
_SOFTWARE_DRIVER = "/usr/lib/chromium/vk_swiftshader_icd.json"
_SOFTWARE_DEVICE = "pci:0"
SOFTWARE_BACKEND = "software"
"""Our name for a render backend that ManiSkill's parser does not know."""


class HeadlessMaterial:
    """Replaces ``sapien.render.RenderMaterial``: keeps its attributes, draws nothing."""

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
        ``"gpu"`` where a GPU draws, else ``"none"``, after replacing the material
        class in every module that imported it if there is no device at all. Safe to call more than once.
    """
    if vulkan_device_found():
        _register_tasks()
        # A software device has materials as well, but ManiSkill cannot name it.
        return "gpu" if _device_draws("cuda") else "none"
    import sapien.render

    # Already replaced at a second call.
    original = sapien.render.RenderMaterial
    if original is not HeadlessMaterial:
        _replace_everywhere(original)
    _register_tasks()
    _replace_everywhere(original)
    return "none"


def _register_tasks() -> None:
    import mani_skill.envs  # noqa: F401

    import actor.simulators.tasks  # noqa: F401
    from config.packages import register_tasks

    register_tasks()


@functools.cache
def choose_renderer() -> str:
    """Import ManiSkill so that cameras work here, and return the render backend to ask for.

    Call it before anything else of the process needs a device: Vulkan looks for drivers once.

    Raises RenderError: nothing here draws."""
    _offer_software_driver()
    if not vulkan_device_found():
        raise RenderError(
            "task.cameras, actor.pictures and films need a Vulkan device and this host shows none: install a "
            "GPU driver with Vulkan, or a software device (apt-get install chromium), or set "
            "VK_ICD_FILENAMES to another one's file"
        )
    _register_tasks()
    if _device_draws("cuda"):
        return "gpu"
    _teach_backend(_SOFTWARE_DEVICE)
    log.info("the processor draws: the first picture takes half a minute or more")
    return SOFTWARE_BACKEND


@contextlib.contextmanager
def quiet_driver() -> Generator[None]:
    """No lines of the software driver on standard error: it warns of each question that it does not know."""
    sys.stderr.flush()
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


def _offer_software_driver() -> None:
    """Let Vulkan find a driver that needs no GPU, where there is no GPU and nobody chose a driver."""
    has_gpu = any(Path("/dev").glob("nvidia[0-9]*")) or any(Path("/dev/dri").glob("render*"))
    if has_gpu or any(name in os.environ for name in _DRIVER_VARIABLES):
        return
    if Path(_SOFTWARE_DRIVER).is_file():
        os.environ["VK_ICD_FILENAMES"] = _SOFTWARE_DRIVER


def _device_draws(name: str) -> bool:
    import sapien

    try:
        return bool(sapien.Device(name).can_render())
    except RuntimeError:
        return False


def _teach_backend(device: str) -> None:
    """Let ManiSkill accept `SOFTWARE_BACKEND`, for a device that its parser cannot name; call it once."""
    import mani_skill.envs.sapien_env as simulators
    import sapien

    if not _device_draws(device):
        raise RenderError(
            f"there is a Vulkan device here, but it is neither a CUDA GPU nor {device}: "
            "set VK_ICD_FILENAMES to the file of one that is"
        )
    parse = simulators.parse_sim_and_render_backend

    def parse_ours_as_well(sim_backend: str, render_backend: str) -> Any:
        if render_backend != SOFTWARE_BACKEND:
            return parse(sim_backend, render_backend)
        backend = parse(sim_backend, "none")
        backend.render_device, backend.render_backend = sapien.Device(device), "sapien_cpu"
        return backend

    simulators.parse_sim_and_render_backend = parse_ours_as_well


def _replace_everywhere(original: type) -> None:
    import sapien.pysapien.render
    import sapien.wrapper.urdf_loader

    fixed: list[ModuleType] = [sapien.render, sapien.pysapien.render, sapien.wrapper.urdf_loader]
    importers = [
        module
        for name, module in list(sys.modules.items())
        if name.startswith(("mani_skill", "sapien")) and isinstance(module, ModuleType)
    ]
    for module in fixed + importers:
        if getattr(module, "RenderMaterial", None) is original:
            vars(module)["RenderMaterial"] = HeadlessMaterial
