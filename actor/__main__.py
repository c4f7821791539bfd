"""python -m actor [key=value ...] | --config FILE [--index N]: simulates, and sends experience."""

from typing import TYPE_CHECKING

from config.process import end_on_interrupt

if TYPE_CHECKING:
    from config.compose import Run


def load() -> "Run":
    from actor.loop import run_actor
    from actor.malloc import keep_freed_memory

    keep_freed_memory()
    return run_actor


if __name__ == "__main__":
    end_on_interrupt()
    from config.compose import run_configured

    run_configured(__doc__ or "", load)
