"""python -m launch.run: see launch/run/launcher.py."""

import sys

from launch.run.launcher import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
