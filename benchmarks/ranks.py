"""Updates of a learner with two processes on a CPU (two minutes, two processors).

ours: two ranks with a batch of algo.batch_size each, as `learner.processes=2` has them: rank 0 draws the
joint batch, sends the other its half, and gradients are averaged. peer: one process with the joint batch.
ceiling: the mean of two processes that have nothing to do with each other, the same batch each. For the
default recipe and the published one, in turns, in seconds of a clock, since waiting counts.
"""

import contextlib
import multiprocessing
import statistics
import sys
import time
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing.connection import Connection
from typing import Any

import msgspec
import torch

from benchmarks.command import make_parser, print_result
from benchmarks.updates import RECIPES, ROWS, A, O, full_ring
from config.algo import AlgoConfig
from config.compose import compose_recipe
from learner.algorithms.products import use_fast_products
from learner.algorithms.residual_sac import ResidualSAC
from learner.ranks.ranks import Ranks
from learner.ranks.start import joined_ranks
from learner.ranks.starts import RunStart, lead
from learner.replay.memory.batches import Batches

SIZE = 2
MOVED = ("batches", "gradients")
TURN_S, TURNS = 3.0, 6
KEYS = {
    "processes": "ranks, with one thread each",
    "default": "of residual_td3: ours_updates_per_s, peer_updates_per_s, ceiling_updates_per_s; ratio and "
    "ceiling_ratio are those of ours to the others; of rank 0's time batches_share is spent on sending "
    "batches, and gradients_share on averaging gradients, waiting for the other rank included; batches_ms, "
    "gradients_ms and update_ms: of an update that other work did not disturb; batch_kb and gradients_kb: "
    "what each rank gets in an update of the critics",
    "published": "the same of policy_decorator",
}


class Side:
    """Updates of the ranks that share a joint batch."""

    def __init__(self, algo: AlgoConfig, joint: int, ranks: Ranks) -> None:
        self._ranks = ranks
        self.spent: dict[str, list[float]] = {"batches": [], "gradients": [], "update": []}
        """Seconds of each update."""
        self.algorithm = ResidualSAC(algo, O, A, seed=0, device="cpu", ranks=ranks)
        self.algorithm.updates = algo.critic_warmup_updates
        rings = [full_ring(ROWS, algo.residual_every, seed) for seed in range(2)]
        drawn = msgspec.structs.replace(algo, batch_size=joint)
        self._batches = Batches(drawn, *rings, seed=0, device="cpu")
        if ranks.size > 1:
            lead(ranks, RunStart(algo, (O, A, 0), seed=0, threads=1), self.algorithm.state())
            for name, what in (("share", "batches"), ("average", "gradients")):
                setattr(ranks, name, self._timed(getattr(ranks, name), what))

    def update(self) -> None:
        began_s = time.perf_counter()
        for seconds in self.spent.values():
            seconds.append(0.0)
        self.algorithm.update(self._ranks.share(self._batches.next()))
        self.spent["update"][-1] = time.perf_counter() - began_s

    def _timed(self, call: Callable[..., Any], what: str) -> Callable[..., Any]:
        def timed(*arguments: Any) -> Any:
            began_s = time.perf_counter()
            result = call(*arguments)
            self.spent[what][-1] += time.perf_counter() - began_s
            return result

        return timed


def rate(update: Callable[[], None], seconds: float) -> float:
    """Updates a second."""
    count, began_s = 0, time.perf_counter()
    while (spent_s := time.perf_counter() - began_s) < seconds:
        update()
        count += 1
    return count / spent_s


def alone(orders: Connection, algo: AlgoConfig) -> None:
    """A process that updates for as long as it is asked to, and answers with its rate."""
    prepare()
    side = Side(algo, algo.batch_size, Ranks())
    with contextlib.suppress(EOFError):
        while True:
            orders.send(rate(side.update, orders.recv()))


@contextlib.contextmanager
def strangers(algo: AlgoConfig) -> Generator[list[Connection]]:
    """SIZE processes that are `alone`."""
    context = multiprocessing.get_context("spawn")
    pipes = [context.Pipe() for _ in range(SIZE)]
    processes = [context.Process(target=alone, args=(there, algo), daemon=True) for _, there in pipes]
    for process, (_, there) in zip(processes, pipes, strict=True):
        process.start()
        there.close()
    try:
        yield [here for here, _ in pipes]
    finally:
        for (here, _), process in zip(pipes, processes, strict=True):
            here.close()
            process.join()


def together(connections: list[Connection], seconds: float) -> float:
    """Their mean rate, while all update at once."""
    for connection in connections:
        connection.send(seconds)
    return statistics.mean(connection.recv() for connection in connections)


def measure(recipe: str, turn_s: float = TURN_S, turns: int = TURNS) -> dict[str, float]:
    """All sides of one recipe, once a process."""
    prepare()
    algo = compose_recipe([recipe])
    joint = algo.batch_size * SIZE
    with strangers(algo) as others, joined_ranks(SIZE, "cpu", threads=1, section="") as ranks:
        ours, peer = Side(algo, joint, ranks), Side(algo, joint, Ranks())
        sides: dict[str, Callable[[float], float]] = {
            "ours": lambda seconds: rate(ours.update, seconds),
            "peer": lambda seconds: rate(peer.update, seconds),
            "ceiling": lambda seconds: together(others, seconds),
        }
        for side in sides.values():
            side(turn_s / 4)
        for seconds in ours.spent.values():
            seconds.clear()
        rates = {name: [] for name in sides}
        for name, side in _in_turns(sides, turns):
            rates[name].append(side(turn_s))
        found = {name: statistics.median(values) for name, values in rates.items()}
    size = sum(parameter.numel() for parameter in ours.algorithm.critic.parameters())
    row = 2 * O + 3 * algo.residual_every * A + 2
    return {
        **{f"{name}_updates_per_s": round(value, 1) for name, value in found.items()},
        "ratio": round(found["ours"] / found["peer"], 2),
        "ceiling_ratio": round(found["ours"] / found["ceiling"], 2),
        **{f"{what}_share": round(sum(ours.spent[what]) / sum(ours.spent["update"]), 3) for what in MOVED},
        **{f"{what}_ms": round(1e3 * _fast(seconds), 2) for what, seconds in ours.spent.items()},
        "batch_kb": round(4 * row * algo.batch_size / 1e3),
        "gradients_kb": round(4 * size / 1e3),
    }


def _fast(seconds: list[float]) -> float:
    """Of the fastest tenth, the slowest: what other work on the machine did not disturb."""
    return sorted(seconds)[len(seconds) // 10]


def _in_turns[T](sides: dict[str, T], turns: int) -> Iterator[tuple[str, T]]:
    """So that a busy moment hits all of them."""
    for _ in range(turns):
        yield from sides.items()


def prepare() -> None:
    torch.set_num_threads(1)
    use_fast_products()


def main(argv: list[str]) -> None:
    make_parser("benchmarks.ranks", __doc__, KEYS).parse_args(argv)
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, context, max_tasks_per_child=1) as pool:
        found = pool.map(measure, RECIPES.values())
        print_result({"processes": SIZE, **dict(zip(RECIPES, found, strict=True))}, KEYS)


if __name__ == "__main__":
    main(sys.argv[1:])
