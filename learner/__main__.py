"""python -m learner [key=value ...] | --config FILE: receives experience, trains and publishes."""

from typing import TYPE_CHECKING

from config.process import end_on_interrupt

if TYPE_CHECKING:
    from config.compose import Run


def load() -> "Run":
    from learner.run import run_learner

    return run_learner


if __name__ == "__main__":
    end_on_interrupt()
    from config.compose import run_configured

    run_configured(__doc__ or "", load)
