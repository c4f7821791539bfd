"""python -m launch.run: see launch/run/launcher.py."""

from config.process import run_main
from launch.run.launcher import LaunchError, main
from learner.folder import RunError

if __name__ == "__main__":
    run_main(main, LaunchError, RunError, log_format="launch    | %(message)s")
