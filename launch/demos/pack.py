"""Keeps what training needs of a trajectory file: python -m launch.demos.pack SRC DST [EPISODES]."""

import argparse
from pathlib import Path

from config.process import run_main
from learner.replay.prior.demonstration import DemonstrationError
from learner.replay.prior.maniskill import read_maniskill, write_maniskill


def main(argv: list[str]) -> int:
    """Write the first EPISODES of SRC, cut at their first success, to DST; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m launch.demos.pack", description=__doc__)
    parser.add_argument("source", type=Path, metavar="SRC", help="a trajectory file")
    parser.add_argument("target", type=Path, metavar="DST", help="the file to write")
    parser.add_argument("episodes", type=int, nargs="?", metavar="EPISODES", help="how many; default: all")
    args = parser.parse_args(argv)
    episodes = [episode.cut_at_success() for episode in read_maniskill(args.source, args.episodes)]
    write_maniskill(args.target, episodes)
    return 0


if __name__ == "__main__":
    run_main(main, DemonstrationError)
