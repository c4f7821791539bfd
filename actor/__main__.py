"""python -m actor [key=value ...] | --config FILE [--index N]: simulates, and sends experience."""

from actor.loop import run_actor
from actor.malloc import keep_freed_memory
from config.compose import run_configured

if __name__ == "__main__":
    keep_freed_memory()
    run_configured(__doc__ or "", run_actor)
