"""Laws of what a process may use: the limits of a container count, and no clock that may jump is read."""

import os
import re
from pathlib import Path

import pytest

from actor.simulators.processes import part_of_processors
from config import limits
from tests.support.helpers import ROOT

CORES, MEMORY = 16, 64 << 30
# A person's clock is meant: what is shown, and a time that a person sets in a file.
OF_PEOPLE = {
    "actor/link/patience.py", "launch/run/machine.py", "launch/show/monitor/follower.py",
    "launch/show/page/prometheus.py", "learner/replay/dataset/watch.py", "learner/report/report.py",
}  # fmt: skip


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A large machine without limits; its cgroups are written to this folder."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(CORES)))
    monkeypatch.setattr(os, "sysconf", {"SC_PAGE_SIZE": 4096, "SC_PHYS_PAGES": MEMORY // 4096}.__getitem__)
    monkeypatch.setattr(limits, "CGROUPS", tmp_path / "cgroup")
    monkeypatch.setattr(limits, "MEMBERSHIP", tmp_path / "membership")
    return tmp_path


def put(machine: Path, membership: str, files: dict[str, str]) -> None:
    (machine / "membership").write_text(membership)
    for name, content in files.items():
        place = machine / "cgroup" / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(f"{content}\n")


@pytest.mark.parametrize(
    ("membership", "files", "processors"),
    [
        ("0::/\n", {"cpu.max": "400000 100000"}, 4),  # docker run --cpus 4
        ("0::/\n", {"cpu.max": "max 100000"}, CORES),
        ("0::/\n", {}, CORES),  # no controller, as at the root of a whole machine
        # Kubernetes: the limit is that of the pod, above the container.
        ("0::/pod/box\n", {"pod/box/cpu.max": "max 100000", "pod/cpu.max": "765000 100000"}, 7),
        ("0::/half\n", {"half/cpu.max": "50000 100000"}, 1),
        ("0::/many\n", {"many/cpu.max": "9900000 100000"}, CORES),
        ("3:cpu,cpuacct:/a\n", {"cpu/a/cpu.cfs_quota_us": "250000", "cpu/a/cpu.cfs_period_us": "100000"}, 2),
        ("3:cpu,cpuacct:/a\n", {"cpu/a/cpu.cfs_quota_us": "-1", "cpu/a/cpu.cfs_period_us": "100000"}, CORES),
        # Its own group is the root of what a container sees, whatever the kernel calls it.
        ("3:cpu:/docker/x\n", {"cpu/cpu.cfs_quota_us": "300000", "cpu/cpu.cfs_period_us": "100000"}, 3),
    ],
)
def test_a_quota_of_processor_time_counts_as_fewer_processors(
    membership: str, files: dict[str, str], processors: int, machine: Path
) -> None:
    put(machine, membership, files)
    assert limits.usable_processors() == processors
    assert part_of_processors(actors=1) == max(1, processors - 1)


def test_an_affinity_below_the_quota_counts(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {3, 5})  # taskset, docker --cpuset-cpus
    put(machine, "0::/\n", {"cpu.max": "800000 100000"})
    assert limits.usable_processors() == 2


@pytest.mark.parametrize(
    ("membership", "files", "usable"),
    [
        ("0::/\n", {"memory.max": str(8 << 30)}, 8 << 30),
        ("0::/\n", {"memory.max": "max"}, MEMORY),
        ("0::/a/b\n", {"a/b/memory.max": "max", "a/memory.max": str(2 << 30)}, 2 << 30),
        ("4:memory:/x\n", {"memory/x/memory.limit_in_bytes": str(1 << 30)}, 1 << 30),
        ("4:memory:/x\n", {"memory/x/memory.limit_in_bytes": "9223372036854771712"}, MEMORY),
    ],
)
def test_a_limit_of_memory_counts(membership: str, files: dict[str, str], usable: int, machine: Path) -> None:
    put(machine, membership, files)
    assert limits.usable_memory() == usable


def test_without_cgroups_the_machine_counts(machine: Path) -> None:
    assert (limits.usable_processors(), limits.usable_memory()) == (CORES, MEMORY)


def test_no_wait_and_no_decision_reads_a_clock_that_may_jump() -> None:
    wall_clock = re.compile(r"\btime\.time\(\)|\bdatetime\.(now|utcnow)\(|st_mtime\b *[<>]")
    found = {
        str(path.relative_to(ROOT))
        for folder in ("actor", "config", "launch", "learner", "protocol")
        for path in (ROOT / folder).rglob("*.py")
        if wall_clock.search(path.read_text())
    }
    assert found <= OF_PEOPLE | {
        "launch/run/folder.py",
        "launch/show/page/live.py",
        "learner/tracking/tensorboard_process.py",
    }
