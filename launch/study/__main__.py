"""python -m launch.study: see launch/study/study.py."""

from config.process import TIMED, run_main
from launch.study.study import main

if __name__ == "__main__":
    run_main(main, log_format=TIMED)
