"""Ranks with Accelerate: placement, mixed precision, accumulated gradients; and what they send each other."""

import contextlib
import json
import math
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import timedelta

import torch
import torch.distributed as dist
from accelerate import Accelerator
from torch import Tensor

from config.process import UsageError
from learner.ranks.ranks import Batch, Order, Ranks
from learner.ranks.watch import Watch

# Rank 0 may wait for experience this long; whether the others are there is the watch's to say.
_LONGEST_WAIT = timedelta(days=30)
# In which the watch hears of an end that a collective has met; at once, unless others use the processors.
_KNOWN_S = 20.0


class Prepared(Ranks):
    """One process as Accelerate prepared it."""

    def __init__(self, accelerator: Accelerator) -> None:
        self._accelerator = accelerator
        self.device = str(accelerator.device)

    def pieces(self, batch: Batch) -> Sequence[Batch]:
        count = self._accelerator.gradient_accumulation_steps
        if count == 1:
            return (batch,)
        rows = len(next(iter(batch.values())))
        if rows % count:
            raise UsageError(
                f"a batch of {rows} cannot be divided by Accelerate's gradient_accumulation_steps={count}: "
                "give a batch_size that can"
            )
        columns = zip(*(column.chunk(count) for column in batch.values()), strict=True)
        return [dict(zip(batch, piece, strict=True)) for piece in columns]

    def mixed_precision(self) -> AbstractContextManager[object]:
        return self._accelerator.autocast()

    def backward(self, loss: Tensor) -> None:
        self._accelerator.backward(loss)

    def average(self, optimizer: torch.optim.Optimizer, losses: Sequence[Tensor]) -> Tensor:
        return torch.stack([loss.detach().float() for loss in losses]).mean()


class Joined(Prepared):
    """Several processes. Gradients are averaged by Accelerate's backend (NCCL, gloo); batches and orders go
    over gloo, which waits without using a processor or a GPU."""

    def __init__(self, accelerator: Accelerator) -> None:
        super().__init__(accelerator)
        self.rank, self.size = accelerator.process_index, accelerator.num_processes
        group = dist.new_group(backend="gloo", timeout=_LONGEST_WAIT)
        assert isinstance(group, dist.ProcessGroup)  # this process is in it
        self._group = group
        self._watch: Watch | None = None
        self._layout: dict[str, list[int]] = {}
        self._row = torch.empty(0)  # this rank's part of a batch, as it is sent
        self._flat: dict[int, Tensor] = {}  # the gradients of each optimiser

    def watch(self, watch: Watch) -> None:
        """From now on the end of another rank is a RankError."""
        self._watch = watch

    def tell(self, content: bytes) -> None:
        self._broadcast(torch.tensor([len(content)]))
        self._broadcast(torch.frombuffer(bytearray(content), dtype=torch.uint8))

    def hear(self) -> bytes:
        size = int(self._broadcast(torch.zeros(1, dtype=torch.int64)))
        return self._broadcast(torch.empty(size, dtype=torch.uint8)).numpy().tobytes()

    def lead(self) -> None:
        self._order(Order.UPDATE)

    def orders(self) -> Iterator[Order]:
        while True:
            yield Order(int(self._broadcast(torch.zeros(1, dtype=torch.int64))))

    def share(self, batch: Batch) -> Batch:
        self.lead()
        parts = {name: column.unflatten(0, (self.size, -1)) for name, column in batch.items()}
        if not self._layout:
            layout = {name: list(part.shape[1:]) for name, part in parts.items()}
            self.tell(json.dumps(layout).encode())
            self._lay_out(layout)
        packed = torch.cat([part.reshape(self.size, -1) for part in parts.values()], dim=1).cpu()
        with self._together():
            dist.scatter(self._row, list(packed), group=self._group)
        return {name: part[0] for name, part in parts.items()}

    def take(self) -> Batch:
        if not self._layout:
            self._lay_out(json.loads(self.hear()))
        with self._together():
            dist.scatter(self._row, group=self._group)
        columns = self._row.to(self._accelerator.device).split([*map(math.prod, self._layout.values())])
        return {
            name: column.view(shape)
            for (name, shape), column in zip(self._layout.items(), columns, strict=True)
        }

    def own(self, joint: Tensor, dim: int = 0) -> Tensor:
        return joint.chunk(self.size, dim)[self.rank]

    def joint(self, own: Tensor) -> Tensor:
        sent = own.cpu().contiguous()
        parts = [torch.empty_like(sent) for _ in range(self.size)]
        with self._together():
            dist.all_gather(parts, sent, group=self._group)
        return torch.cat(parts).to(own.device)

    def average(self, optimizer: torch.optim.Optimizer, losses: Sequence[Tensor]) -> Tensor:
        parameters = [p for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
        gradients = [parameter.grad.reshape(-1) for parameter in parameters]
        # The loss goes with them, so that all ranks judge alike whether it is finite.
        flat = torch.cat(
            [*gradients, super().average(optimizer, losses).reshape(1)], out=self._room(optimizer)
        )
        with self._together():
            dist.all_reduce(flat)
        flat /= self.size
        for parameter, gradient in zip(parameters, flat.split([*map(len, gradients), 1]), strict=False):
            parameter.grad = gradient.view_as(parameter)
        return flat[-1].clone()

    def mean(self, figures: Mapping[str, Callable[[], Tensor]]) -> dict[str, float]:
        if self._watch is None:
            return super().mean(figures)
        if self.rank == 0:
            self._order(Order.FIGURES)
        names = sorted(figures)
        values = torch.tensor([float(figures[name]()) for name in names], dtype=torch.float64)
        with self._together():
            dist.all_reduce(values, group=self._group)
        means = dict(zip(names, (values / self.size).tolist(), strict=True))
        return {name: means[name] for name in figures}

    def raise_if_lost(self) -> None:
        if self._watch is not None:
            self._watch.raise_if_lost()

    def dismiss(self) -> None:
        watch = self._watch
        if self.rank == 0 and watch is not None:
            self._watch = None
            watch.end()

    def _order(self, order: Order) -> None:
        self.raise_if_lost()
        self._broadcast(torch.tensor([int(order)]))

    def _broadcast(self, tensor: Tensor) -> Tensor:
        with self._together():
            dist.broadcast(tensor, 0, group=self._group)
        return tensor

    def _lay_out(self, layout: dict[str, list[int]]) -> None:
        self._layout = layout
        self._row = torch.empty(sum(map(math.prod, layout.values())))

    def _room(self, optimizer: torch.optim.Optimizer) -> Tensor:
        # Fresh memory costs a page fault every 4 kB.
        return self._flat.setdefault(id(optimizer), torch.empty(0, device=self._accelerator.device))

    @contextlib.contextmanager
    def _together(self) -> Generator[None]:
        try:
            yield
        except RuntimeError:  # what torch raises where a connection was closed
            if self._watch is not None:
                self._watch.raise_if_lost(_KNOWN_S)
            raise
