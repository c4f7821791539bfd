"""Updates of the residual a second on a CPU (a minute, one thread).

ours: `ResidualSAC.update` and `Batches.next` from a filled ring, as the learner calls them. peer: the
plain way, the same algorithm with a list of separate `nn.Sequential` critics, torch's own products and Adam
step by step. ceiling: the matrix products of an update alone, by oneDNN at the same shapes, into memory that
is there. For the default recipe and the published one. "ours_large": ours from a full ring of 4,000,000 rows
(2 GB of memory, and a moment to fill it). Seconds are of processor time, so that the turns of other processes
do not count.
"""

import copy
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any, cast

import torch
from torch import Tensor, nn

from benchmarks.command import make_parser, print_result
from benchmarks.replay import messages
from config.algo import AlgoConfig
from config.compose import compose_recipe
from learner.algorithms.critic import CriticEnsemble
from learner.algorithms.products import use_fast_products
from learner.algorithms.residual_sac import TARGET_CRITICS, TAU, ResidualSAC
from learner.replay.memory.batches import Batches
from learner.replay.memory.ring import Ring

O, A = 42, 7  # noqa: E741  observation_dim, action_dim: PickCube-v1
RECIPES = {"default": "algo=residual_td3", "published": "algo=policy_decorator"}
ROWS, LARGE = 25_000, 4_000_000  # of the rings
SECONDS = 25.0  # a recipe
KEYS = {
    "threads": "of torch",
    "default": "of residual_td3: ours_updates_per_s, peer_updates_per_s, ceiling_updates_per_s; ratio and "
    "ceiling_ratio are those of ours to the others; ours_large_updates_per_s and large_ratio: the large ring",
    "published": "the same of policy_decorator",
}


class SeparateCritics(nn.Module):
    """One network after the other."""

    def __init__(self, algo: AlgoConfig, inputs: int) -> None:
        super().__init__()
        self.members = nn.ModuleList(self._member(algo, inputs) for _ in range(algo.critics))

    @staticmethod
    def _member(algo: AlgoConfig, width: int) -> nn.Sequential:
        layers: list[nn.Module] = []
        for hidden in algo.hidden:
            layers.append(nn.Linear(width, hidden))
            if algo.critic_layer_norm:
                layers.append(nn.LayerNorm(hidden))
            layers.append(nn.ReLU())
            width = hidden
        return nn.Sequential(*layers, nn.Linear(width, 1))

    def forward(self, observation: Tensor, action: Tensor, members: Tensor | None = None) -> Tensor:
        x = torch.cat([observation, action], dim=-1)
        chosen = range(len(self.members)) if members is None else members.tolist()
        return torch.stack([self.members[member](x).squeeze(-1) for member in chosen])

    def clip_gradients(self, limit: float) -> None:
        for member in self.members:
            nn.utils.clip_grad_norm_(member.parameters(), limit)


class PlainSAC(ResidualSAC):
    """The same update from plain parts."""

    def __init__(self, algo: AlgoConfig, features: int) -> None:
        super().__init__(algo, O, A, seed=0, device="cpu")
        setattr(self.actor._native, "apply_to", lambda *_: False)  # noqa: B010  # a method, replaced
        inputs = self.actor.sight.dim + features
        self.critic = cast(CriticEnsemble, SeparateCritics(algo, inputs))
        self.target_critic = copy.deepcopy(self.critic).requires_grad_(False)
        self._actor_optimizer = torch.optim.Adam(self.actor.parameters(), lr=algo.actor_lr)
        self._critic_optimizer = torch.optim.Adam(self.critic.parameters(), lr=algo.critic_lr)

    @torch.no_grad()
    def _track_targets(self) -> None:
        for target, source in zip(self.target_critic.parameters(), self.critic.parameters(), strict=True):
            target.mul_(1 - TAU).add_(TAU * source)


class Products:
    """The matrix products of passes through `members` networks of these widths, `rows` rows."""

    def __init__(self, members: int, widths: list[int], rows: int, gradients_from: int = 0) -> None:
        """`gradients_from`: first of the inputs that need a gradient; all of them do by default."""
        self._layers = []
        for inputs, outputs in zip(widths, widths[1:], strict=False):
            x, w, y = (
                torch.randn(members, *shape) for shape in ((rows, inputs), (inputs, outputs), (rows, outputs))
            )
            self._layers.append((x, w, y, torch.empty_like(x), torch.empty_like(w), torch.empty_like(y)))
        self._first = gradients_from

    def forward(self) -> None:
        for x, w, _, _, _, out in self._layers:
            torch.bmm(x, w, out=out)

    def weights(self) -> None:
        for x, _, d, _, out, _ in self._layers:
            torch.bmm(x.mT, d, out=out)

    def inputs(self, *, first_layer: bool) -> None:
        for number, (_, w, d, out, _, _) in enumerate(self._layers):
            if number:
                torch.bmm(d, w.mT, out=out)
            elif first_layer:
                torch.bmm(d, w[:, self._first :].mT, out=out[..., self._first :])


def bare_products(algo: AlgoConfig, features: int) -> Callable[[], None]:
    """As many products as an update has on average."""
    rows, numbers = algo.batch_size, algo.residual_every * A
    sees = numbers if algo.actor_input == "obs_base_action" else 0
    outputs = ResidualSAC(algo, O, A, seed=0, device="cpu").actor.head.out_features
    actor = Products(1, [O + sees, *algo.hidden, outputs], rows)
    # Of a critic's input, the gradient by the residual alone.
    critic, target = (
        Products(count, [O + features, *algo.hidden, 1], rows, gradients_from=O + features - numbers)
        for count in (algo.critics, TARGET_CRITICS)
    )
    updates = 0

    def run() -> None:
        nonlocal updates
        updates += 1
        actor.forward(), target.forward(), critic.forward(), critic.weights()
        critic.inputs(first_layer=False)
        if updates % algo.actor_delay == 0:
            actor.forward(), critic.forward(), critic.inputs(first_layer=True)
            actor.weights(), actor.inputs(first_layer=False)

    return run


def seconds_a_call(sides: dict[str, Callable[[], Any]], calls: int) -> dict[str, float]:
    """Median of each side, in turns of `calls` calls, so that a busy moment hits all of them."""
    spent: dict[str, list[float]] = {name: [] for name in sides}
    until = time.perf_counter() + SECONDS
    while time.perf_counter() < until or len(spent["ours"]) < 4:
        for name, side in sides.items():
            torch.set_float32_matmul_precision("highest")
            if name != "peer":
                use_fast_products()
            began = time.thread_time()
            for _ in range(calls):
                side()
            spent[name].append((time.thread_time() - began) / calls)
    return {name: statistics.median(times[1:]) for name, times in spent.items()}


def measure(algo: AlgoConfig) -> dict[str, float]:
    """All sides of one recipe."""
    numbers = algo.residual_every * A
    features = 2 * numbers if algo.critic_input == "concat" else numbers
    online, prior, large = (
        full_ring(rows, algo.residual_every, seed) for seed, rows in enumerate((ROWS, ROWS, LARGE))
    )
    sides: dict[str, Callable[[], Any]] = {"ceiling": bare_products(algo, features)}
    for name, ring, algorithm in (
        ("ours", online, ResidualSAC(algo, O, A, seed=0, device="cpu")),
        ("ours_large", large, ResidualSAC(algo, O, A, seed=0, device="cpu")),
        ("peer", online, PlainSAC(algo, features)),
    ):
        algorithm.updates = algo.critic_warmup_updates
        batches = Batches(algo, ring, prior, seed=0, device="cpu")
        sides[name] = lambda algorithm=algorithm, batches=batches: algorithm.update(batches.next())
    seconds = seconds_a_call(sides, calls=max(2, 5000 // algo.batch_size))
    rate = {name: 1 / value for name, value in seconds.items()}
    return {
        "ours_updates_per_s": round(rate["ours"], 1),
        "peer_updates_per_s": round(rate["peer"], 1),
        "ratio": round(rate["ours"] / rate["peer"], 2),
        "ceiling_updates_per_s": round(rate["ceiling"], 1),
        "ceiling_ratio": round(rate["ours"] / rate["ceiling"], 2),
        "ours_large_updates_per_s": round(rate["ours_large"], 1),
        "large_ratio": round(rate["ours_large"] / rate["ours"], 3),
    }


def full_ring(rows: int, every: int, seed: int) -> Ring:
    """A full ring of `rows` rows that has wrapped around."""
    ring = Ring(rows, O, every * A)
    for columns in messages(int(1.05 * rows * every), every, seed):
        ring.add("actor", columns)
    return ring


def main(argv: list[str]) -> None:
    make_parser("benchmarks.updates", __doc__, KEYS).parse_args(argv)
    torch.set_num_threads(1)
    result: dict[str, object] = {"threads": 1}
    for name, recipe in RECIPES.items():
        result[name] = measure(compose_recipe([recipe]))
    print_result(result, KEYS)


if __name__ == "__main__":
    main(sys.argv[1:])
