"""The command that starts LeRobot's visualiser."""

import shlex
import sys
from pathlib import Path


def visualiser_command(folder: Path, repo_id: str, episode: int) -> str:
    """The shell command that shows an episode of the dataset in `folder` (which holds meta/)."""
    program = Path(sys.executable).with_name("lerobot-dataset-viz")
    if program.is_relative_to(Path.cwd()):
        program = program.relative_to(Path.cwd())
    # Episodes are small and worker processes slow to start.
    argv = [program, "--repo-id", repo_id, "--root", folder, "--episode-index", episode, "--num-workers", 0]
    return shlex.join(map(str, argv))
