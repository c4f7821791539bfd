"""How the processes of a learner find each other: started here, or by `accelerate launch`."""

import contextlib
import os
import socket
from collections.abc import Generator, Mapping
from typing import TYPE_CHECKING

from config.process import UsageError
from learner.ranks.ranks import Ranks

if TYPE_CHECKING:
    from accelerate import Accelerator

    from learner.ranks.children import Children
    from learner.ranks.joined import Joined
    from learner.ranks.watch import Watch

# What tells a process that Accelerate, or the program of torch that it calls, has started it.
_LAUNCHED = ("ACCELERATE_MIXED_PRECISION", "TORCHELASTIC_RUN_ID")
_SIZES = ("WORLD_SIZE", "OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "MV2_COMM_WORLD_SIZE")
# Plugins that divide networks among GPUs.
_PLUGINS = ("ACCELERATE_USE_DEEPSPEED", "ACCELERATE_USE_FSDP", "ACCELERATE_USE_MEGATRON_LM")


@contextlib.contextmanager
def joined_ranks(processes: int, device: str, threads: int, section: str) -> Generator[Ranks]:
    """The ranks of this learner; without others, and without Accelerate, nothing is imported.

    Args:
        processes, device, threads: of the configuration, where their names begin with `section`.

    Raises UsageError: they cannot be started like this."""
    launched = any(name in os.environ for name in _LAUNCHED)
    size = max((int(os.environ.get(name, 1)) for name in _SIZES), default=1) if launched else 1
    if processes > 1 and size == 1:
        _require_devices(processes, device, section)
        with _started_here(processes, device, threads) as ranks:
            yield ranks
    elif not launched:
        yield Ranks()
    elif processes not in (1, size):
        raise UsageError(f"{section}processes={processes}, but {size} processes were launched: leave it out")
    else:
        with _joined(_accelerator({"OMP_NUM_THREADS": str(threads)}), None) as ranks:
            yield ranks


def join_parent() -> contextlib.AbstractContextManager[Ranks]:
    """For a rank that rank 0 has started."""
    return _joined(_accelerator({}), None)


@contextlib.contextmanager
def _started_here(processes: int, device: str, threads: int) -> Generator[Ranks]:
    from learner.ranks.children import Children

    with meeting_place() as port:
        environment = host_environment(processes, port, device, threads)
        with Children(processes - 1, environment) as children:
            accelerator = _accelerator({**environment, "RANK": "0", "LOCAL_RANK": "0"})
            with _joined(accelerator, children) as ranks:
                yield ranks


def host_environment(size: int, port: int, device: str, threads: int) -> dict[str, str]:
    """What ranks on one host find each other with."""
    return {
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "TORCHELASTIC_USE_AGENT_STORE": "True",  # the store is there already
        "GLOO_SOCKET_IFNAME": "lo",
        "NCCL_SOCKET_IFNAME": "lo",
        "WORLD_SIZE": str(size),
        "LOCAL_WORLD_SIZE": str(size),
        "OMP_NUM_THREADS": str(threads),
        "ACCELERATE_USE_CPU": str(device == "cpu"),
    }


def _require_devices(processes: int, device: str, section: str) -> None:
    if device == "cpu":
        return
    if device != "cuda":
        raise UsageError(
            f"{section}processes={processes} cannot share {section}device={device}: give cuda, or cpu"
        )
    import torch

    if processes > torch.cuda.device_count():
        raise UsageError(
            f"{section}processes={processes} wants as many GPUs, this host has {torch.cuda.device_count()}"
        )


@contextlib.contextmanager
def meeting_place() -> Generator[int]:
    """A port of the loopback interface at which ranks find each other, taken before anybody is told."""
    from torch.distributed import TCPStore  # pyright: ignore[reportPrivateImportUsage]  # documented there

    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        store = TCPStore(
            "127.0.0.1", port, is_master=True, wait_for_workers=False, master_listen_fd=server.detach()
        )
    yield port
    del store


def _accelerator(environment: Mapping[str, str]) -> "Accelerator":
    """Raises UsageError: a configuration that these networks cannot be trained with."""
    import torch
    from accelerate import Accelerator
    from accelerate.utils import patch_environment

    # Networks of this size are not divided among GPUs.
    with patch_environment(**environment, **dict.fromkeys(_PLUGINS, "false")):
        accelerator = Accelerator(cpu=not torch.cuda.is_available())
    if accelerator.mixed_precision not in ("no", "bf16"):
        raise UsageError(f"Accelerate's mixed_precision={accelerator.mixed_precision}: choose bf16, or no")
    return accelerator


@contextlib.contextmanager
def _joined(accelerator: "Accelerator", children: "Children | None") -> Generator[Ranks]:
    from learner.ranks.joined import Joined, Prepared

    if accelerator.num_processes == 1:
        yield Prepared(accelerator)
        return
    ranks = Joined(accelerator)
    ranks.watch(_watch(ranks, children))
    try:
        yield ranks
    finally:
        ranks.dismiss()


def _watch(ranks: "Joined", children: "Children | None") -> "Watch":
    from learner.ranks.watch import Entrance, Watch, connect

    if ranks.rank:
        return Watch(connect(ranks.hear(), ranks.rank), ranks.rank)
    if children is None:
        entrance = Entrance(os.environ.get("MASTER_ADDR", "127.0.0.1"))
        ranks.tell(entrance.address())
        return Watch(entrance.accept(ranks.size - 1), 0)
    entrance = Entrance("127.0.0.1")
    ranks.tell(entrance.address())
    watch = Watch(entrance.accept(ranks.size - 1), 0, children.fate)
    children.joined()
    return watch
