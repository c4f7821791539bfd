"""python -m learner [key=value ...] | --config FILE: receives experience, trains and publishes."""

from config.compose import run_configured
from learner.run import run_learner

if __name__ == "__main__":
    run_configured(__doc__ or "", run_learner)
