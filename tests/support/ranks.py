"""Several ranks of a learner on this host, each a process."""

import multiprocessing
import os
import pickle
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from typing import Any

from learner.follow import follow
from learner.ranks.ranks import Ranks
from learner.ranks.start import host_environment, join_parent, meeting_place


def on_ranks(
    size: int,
    work: Callable[..., Any],
    *arguments: Any,
    device: str = "cpu",
    others: Callable[[Ranks], object] = follow,
    ends: Sequence[int] = (),
    **environment: str,
) -> Any:
    """What `work(ranks, *arguments)` returns on rank 0, while the others do `others(ranks)`.
    `ends`: exit codes of all, if they are not all 0."""
    # The server imports once for all processes of all tests.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["learner.ranks.joined", "learner.follow", "learner.base_training.follow"])
    receiver, sender = context.Pipe(duplex=False)
    with meeting_place() as port:
        shared = host_environment(size, port, device, 1) | environment
        # Multiprocessing would share tensors, and with a process its tensors end.
        job = pickle.dumps((work, arguments, others))
        processes = [
            context.Process(target=_be, args=(rank, shared, sender, job), daemon=True) for rank in range(size)
        ]
        for process in processes:
            process.start()
        sender.close()
        try:
            return pickle.loads(receiver.recv_bytes())
        finally:
            for process in processes:
                process.join(60)
            found = [process.exitcode for process in processes]
            if found != [*(ends or [0] * size)]:
                raise AssertionError(f"exit codes of the ranks (None: it still runs): {found}")


def _be(rank: int, shared: dict[str, str], sender: Connection, job: bytes) -> None:
    os.environ.update(shared, RANK=str(rank), LOCAL_RANK=str(rank))
    with join_parent() as ranks:
        work, arguments, others = pickle.loads(job)
        if rank:
            others(ranks)
        else:
            sender.send_bytes(pickle.dumps(work(ranks, *arguments)))
