"""python -m launch.study: see launch/study/study.py."""

import sys

from launch.study.study import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
