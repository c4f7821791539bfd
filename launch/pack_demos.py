"""Keeps what training needs of a trajectory file: python -m launch.pack_demos SRC DST [EPISODES]."""

from __future__ import annotations

import sys
from pathlib import Path

from learner.replay.demonstrations import DemonstrationError, read_maniskill, write_maniskill


def main(words: list[str]) -> int:
    """Write the first EPISODES of SRC, cut at their first success, to DST; returns the exit code."""
    if len(words) not in (2, 3) or "--help" in words:
        sys.stderr.write(f"{__doc__}\n")
        return 2
    limit = int(words[2]) if len(words) == 3 else None
    try:
        episodes = [episode.cut_at_success() for episode in read_maniskill(Path(words[0]), limit)]
    except DemonstrationError as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    write_maniskill(Path(words[1]), episodes)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
