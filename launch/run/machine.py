"""machine.json: with which code, packages and machine a run was started, and by which command."""

import json
import os
import platform
import shlex
import socket
import time
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path

import msgspec

from config.files import replace_text
from launch.run.code_version import CodeVersion

# Those that a result can depend on.
PACKAGES = (
    "torch", "numpy", "lerobot", "mani-skill", "sapien", "gymnasium", "diffusers", "datasets", "pyarrow",
    "pyzmq", "msgspec", "hydra-core", "wandb",
)  # fmt: skip


class Start(msgspec.Struct, frozen=True):
    """One start of a run."""

    started_unix: float
    commit: str
    dirty: bool
    host: str
    command: str


class Machine(Start, frozen=True):
    """The newest start of a run. `commit` is short, or "unknown" outside of a checkout; `dirty`: its files
    had changes. `earlier`: starts of the same run before, oldest first."""

    python: str
    cpu: str
    gpu: str | None
    packages: dict[str, str]
    earlier: tuple[Start, ...] = ()

    @property
    def first(self) -> Start:
        """The start that began the run."""
        return self.earlier[0] if self.earlier else self


def write_machine(run_dir: Path, argv: Sequence[str]) -> None:
    """Write `machine.json`; what an earlier start of the run wrote stays in it. Raises OSError."""
    before = read_machine(run_dir)
    earlier = () if before is None else (*before.earlier, _start_of(before))
    machine = msgspec.to_builtins(_machine(argv, earlier))
    replace_text(run_dir / "machine.json", json.dumps(machine, indent=2) + "\n")


def read_machine(run_dir: Path) -> Machine | None:
    """What the launcher wrote; None where nothing can be read."""
    try:
        return msgspec.json.decode((run_dir / "machine.json").read_bytes(), type=Machine)
    except (OSError, ValueError):
        return None


def _machine(argv: Sequence[str], earlier: tuple[Start, ...]) -> Machine:
    code = CodeVersion.here()
    return Machine(
        started_unix=time.time(),
        commit=code.commit.removesuffix("+"),
        dirty=code.commit.endswith("+"),
        host=socket.gethostname(),
        command=shlex.join(["residual-rl", *argv]),
        python=platform.python_version(),
        cpu=_cpu(),
        gpu=_gpu(),
        packages={name: version for name in PACKAGES if (version := _version(name))},
        earlier=earlier,
    )


def _start_of(machine: Machine) -> Start:
    return Start(**{name: getattr(machine, name) for name in Start.__struct_fields__})


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _cpu() -> str:
    """The processor's name and how many cores this process may use."""
    cores = len(os.sched_getaffinity(0))
    return f"{_value_in(Path('/proc/cpuinfo'), 'model name') or platform.machine()}, {cores} cores"


def _gpu() -> str | None:
    """Names of NVIDIA's GPUs, from its driver: torch would take seconds to tell."""
    found = [
        _value_in(path, "Model") for path in sorted(Path("/proc/driver/nvidia/gpus").glob("*/information"))
    ]
    return ", ".join(filter(None, found)) or None


def _value_in(path: Path, key: str) -> str | None:
    """The value of the first line `key : value` of a file that the kernel offers."""
    lines = path.read_text(errors="replace").splitlines() if path.is_file() else []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(key)), None)
