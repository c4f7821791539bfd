"""What a cluster cannot run is one line that names the key, from what its sinfo says."""

from pathlib import Path
from typing import Any

import msgspec
import pytest

from config.cluster import Queue, SlurmConfig
from config.compose import compose_launch
from launch.cluster import slurm
from launch.cluster.limits import (
    ClusterError,
    file_system_of,
    require_gpus,
    require_room,
    require_shared,
)
from launch.cluster.slurm import gpus_in, minutes, read_nodes

# As sinfo prints them: two nodes, one in two partitions; a partition that is down; another cluster's heading.
SINFO = """\
CLUSTER: lab
a1|gpu*|up|64|512000|gpu:a100:4(S:0-1),nvme:1|2-00:00:00
a2|gpu*|up|32+|256000|gpu:2|2-00:00:00
a1|short|up|64|512000|gpu:a100:4(S:0-1)|1:00:00
c1|old|down|8|16000|(null)|infinite
"""


def slurm_config(**changes: Any) -> SlurmConfig:
    cluster = compose_launch(["cluster=slurm"]).cluster
    assert isinstance(cluster, SlurmConfig)
    return msgspec.structs.replace(cluster, **changes)


@pytest.fixture
def nodes(monkeypatch: pytest.MonkeyPatch) -> list[slurm.Node]:
    monkeypatch.setattr(slurm, "ask", lambda _: SINFO)
    return read_nodes(None)


def refusal(there: list[slurm.Node], partition: str | None = None, **changes: Any) -> str:
    queue = Queue(partitions=(partition,) if partition else ())
    with pytest.raises(ClusterError) as refused:
        require_room(slurm_config(**changes), queue, there)
    return str(refused.value)


def test_nodes_are_read_as_sinfo_prints_them(nodes: list[slurm.Node]) -> None:
    assert [(node.name, node.gpus, node.cpus, node.limit_min) for node in nodes] == [
        ("a1", 4, 64, 2880), ("a2", 2, 32, 2880), ("a1", 4, 64, 60), ("c1", 0, 8, None),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "expected"),
    [("30", 30), ("30:00", 30), ("1:30:00", 90), ("2-00:00:00", 2880), ("1-12", 2160), ("infinite", None)],
)
def test_a_time_limit_is_whole_minutes(text: str, expected: int | None) -> None:
    assert minutes(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("(null)", 0),
        ("gpu:4", 4),
        ("gpu:a100:4(S:0-1),gpu:v100:2(S:2),nvme:8", 6),
        ("gpu:a100:no_consume:1", 1),
    ],
)
def test_gpus_are_counted_whatever_their_model(text: str, expected: int) -> None:
    assert gpus_in(text) == expected


def test_what_fits_is_taken(nodes: list[slurm.Node]) -> None:
    fit = require_room(slurm_config(gpus=2, nodes=2), Queue(partitions=()), nodes)
    assert {node.partition for node in fit} == {"gpu"}
    assert require_room(slurm_config(time_min=60), Queue(partitions=("short", "gpu")), nodes)


def test_one_partition_of_several_is_enough(nodes: list[slurm.Node]) -> None:
    fit = require_room(slurm_config(time_min=600), Queue(partitions=("short", "gpu")), nodes)
    assert {node.partition for node in fit} == {"gpu"}


def test_every_refusal_names_the_key_and_what_is_there(nodes: list[slurm.Node]) -> None:
    assert refusal(nodes, "nope") == "no partition nope here: there are gpu, old, short"
    assert refusal(nodes, "old") == "partition old is down: choose another cluster.partition"
    assert refusal(nodes, gpus=5) == "cluster.gpus=5: no node of partition gpu has more than 4"
    assert refusal(nodes, cpus=65) == "cluster.cpus=65: no node of partition gpu has more than 64"
    memory = "cluster.memory_gb=600: no node of partition gpu has more than 512000 MB"
    assert refusal(nodes, memory_gb=600) == memory
    assert refusal(nodes, gpus=3, nodes=2) == "cluster.nodes=2: 1 nodes of partition gpu have what is asked"
    assert refusal(nodes, "short", time_min=61) == "cluster.time_min=61: partition short allows 60 minutes"


def test_a_run_on_a_gpu_asks_for_one() -> None:
    run = compose_launch(["learner.device=cuda"]).run
    with pytest.raises(ClusterError, match=r"learner.device=cuda needs a GPU: set cluster.gpus=1"):
        require_gpus(run, slurm_config())
    require_gpus(run, slurm_config(gpus=1))


def test_a_folder_that_other_nodes_do_not_see_is_refused(nodes: list[slurm.Node], monkeypatch: Any) -> None:
    monkeypatch.setattr("launch.cluster.limits.file_system_of", lambda _: "ext4")
    with pytest.raises(
        ClusterError, match=r"runs is on a disk of this host \(ext4\), which node a1 does not"
    ):
        require_shared(Path("runs"), slurm_config(), nodes)
    require_shared(Path("runs"), slurm_config(shared=True), nodes)
    monkeypatch.setattr("launch.cluster.limits.file_system_of", lambda _: "nfs4")
    require_shared(Path("runs"), slurm_config(), nodes)


def test_the_kind_of_a_file_system_is_that_of_its_nearest_mount() -> None:
    assert file_system_of(Path("/proc/self/not/there")) == "proc"
    assert file_system_of(Path("/")) != ""


def test_without_slurm_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(slurm.SlurmError, match="^no Slurm here: sinfo is not found"):
        read_nodes(None)
