"""What a rank other than rank 0 does: it has the networks alone, and updates when it is told to.

python -m learner.follow: started by rank 0.
"""

import torch

from config.process import TIMED, run_main, stop_on_signals
from learner.algorithms.contract import Figures
from learner.algorithms.products import use_fast_products
from learner.make import make_algorithm
from learner.ranks.ranks import Order, Ranks
from learner.ranks.start import join_parent
from learner.ranks.starts import BaseStart, RunStart, hear_start, hear_state

# Updates between two looks at what was skipped; on a GPU a look waits.
_UPDATES_PER_LOOK = 8


def follow(ranks: Ranks) -> None:
    """Update until rank 0 ends this process."""
    match hear_start(ranks):
        case RunStart() as start:
            _follow_run(ranks, start)
        case BaseStart() as start:
            from learner.base_training.follow import follow_base

            follow_base(ranks, start)


def _follow_run(ranks: Ranks, start: RunStart) -> None:
    torch.set_num_threads(start.threads)
    use_fast_products()
    device = ranks.device or "cpu"
    algorithm = make_algorithm(start.algo, start.sizes, seed=start.seed, device=device, ranks=ranks)
    algorithm.load_state(hear_state(ranks))
    figures: Figures = {}
    for order in ranks.orders():
        match order:
            case Order.UPDATE:
                figures |= algorithm.update(ranks.take())
                if algorithm.updates % _UPDATES_PER_LOOK == 0:
                    algorithm.first_skipped()
            case Order.FIGURES:
                ranks.mean(figures)


def main(argv: list[str]) -> None:
    with join_parent() as ranks:
        stop_on_signals()  # rank 0 ends when it is told to, and this process then
        follow(ranks)


if __name__ == "__main__":
    run_main(main, log_format=TIMED)
