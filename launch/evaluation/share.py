"""One process of an evaluation: python -m launch.evaluation.share CONFIG [RESIDUAL]

Plays the seeds of `learner.evaluation` and prints each episode's outcome as a line of JSON.
"""

import sys
from pathlib import Path

import msgspec

from config.compose import read_config
from config.process import PLAIN, run_main, stop_on_signals
from config.trust import trusting

OUTCOME = "outcome "
"""How such a line begins; others are words of libraries."""


def main(argv: list[str]) -> int:
    config = read_config(Path(argv[0]))
    residual = Path(argv[1]) if argv[1:] else None
    stop = stop_on_signals()

    from actor.evaluate_base import evaluate_base  # takes seconds
    from actor.evaluation import Outcome

    def tell(outcome: Outcome) -> None:
        sys.stdout.write(OUTCOME + msgspec.json.encode(outcome).decode() + "\n")
        sys.stdout.flush()

    with trusting(config.trust_remote_code):
        result = evaluate_base(config, residual, stop, tell)
    return stop.exit_code if result is None else 0


if __name__ == "__main__":
    run_main(main, log_format=PLAIN)
