"""What a process may use of its machine: a container has fewer processors and less memory than it sees."""

import contextlib
import os
from pathlib import Path

CGROUPS = Path("/sys/fs/cgroup")
MEMBERSHIP = Path("/proc/self/cgroup")
# cgroup v1 says "no limit" with a number that no machine has.
_UNLIMITED_BYTES = 1 << 60


def usable_processors() -> int:
    """Processors that this process may use, at least one: those of its affinity (taskset, cpuset), or fewer
    where a quota allows less time (docker --cpus). Half a processor too much is not used: threads that wait
    for each other all wait for the one that has no time left."""
    quotas = [quota / period for quota, period in (*_v2_quotas(), *_v1_quotas()) if quota > 0]
    return max(1, min([len(os.sched_getaffinity(0)), *map(int, quotas)]))


def usable_memory() -> int | None:
    """Bytes that this process and those beside it may use; None: unknown."""
    limits = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    limits += [int(text) for text in _read("memory.max", "") if text != "max"]
    limits += [int(text) for text in _read("memory.limit_in_bytes", "memory")]
    found = [limit for limit in limits if 0 < limit < _UNLIMITED_BYTES]
    return min(found) if found else None


def _v2_quotas() -> list[tuple[float, float]]:
    pairs = [text.split() for text in _read("cpu.max", "")]
    return [(float(quota), float(period)) for quota, period in pairs if quota != "max"]


def _v1_quotas() -> list[tuple[float, float]]:
    quotas, periods = _read("cpu.cfs_quota_us", "cpu"), _read("cpu.cfs_period_us", "cpu")
    return [(float(quota), float(period)) for quota, period in zip(quotas, periods, strict=False)]


def _read(name: str, controller: str) -> list[str]:
    """A file's content, of this process's group and of all groups above it, whose limits hold too.

    Args:
        controller: of cgroup v1; empty: v2.
    """
    found: list[str] = []
    for folder in _groups(controller):
        with contextlib.suppress(OSError):
            found.append((folder / name).read_text().strip())
    return found


def _groups(controller: str) -> list[Path]:
    """Folders of this process's groups. In a container its own group may be the root of what it sees."""
    try:
        lines = [line.split(":", 2) for line in MEMBERSHIP.read_text().splitlines()]
    except OSError:  # not Linux
        return []
    for _, controllers, group in lines:
        if controller in controllers.split(","):
            # v1 mounts `cpu` as `cpu`, or as a link to `cpu,cpuacct`; v2 has one tree.
            root = CGROUPS / controller
            own = root / group.lstrip("/")
            return [own, *(parent for parent in own.parents if parent.is_relative_to(root))]
    return []
