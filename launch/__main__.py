"""python -m launch: the same as `residual-rl`, for processes that start others."""

from launch.cli.main import main

if __name__ == "__main__":
    main()
