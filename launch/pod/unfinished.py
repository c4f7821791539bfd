"""Which runs have not finished, and the command that goes on with each."""

import logging
import shlex
from collections.abc import Iterator
from pathlib import Path

from config.process import UsageError, run_main
from launch.run.folder import ROOT, is_run
from launch.run.holder import is_alive
from launch.show.settings import changed_settings, read_settings, run_words

log = logging.getLogger("restart")


def unfinished_runs(folder: Path) -> Iterator[Path]:
    """The runs in `folder` that were started and have no summary, by name."""
    for run_dir in sorted(folder.glob("*/")):
        if is_run(run_dir) and not (run_dir / "summary.json").is_file():
            yield run_dir


def resume_command(run_dir: Path) -> str:
    """What a shell runs, from any folder, to go on with the run in its own settings.
    Raises UsageError: they cannot be read."""
    settings = read_settings(run_dir)
    if not settings:
        raise UsageError(f"{run_dir}: its launch.yaml and config.yaml cannot be read: start it by its words")
    # A launcher writes launch.yaml; a learner alone does not.
    verb = "run" if (run_dir / "launch.yaml").is_file() else "learner"
    words = [shlex.quote(f"name={run_dir.name}"), *run_words(changed_settings(settings))]
    return " ".join(["cd", shlex.quote(str(ROOT)), "&&", ".venv/bin/residual-rl", verb, *words])


def main(argv: list[str]) -> None:
    """Say it of all runs of this project."""
    found = False
    for run_dir in unfinished_runs(ROOT / "runs"):
        found = True
        if is_alive(run_dir):
            log.info("%s runs", run_dir.name)
            continue
        try:
            log.info("to go on with %s:\n%s", run_dir.name, resume_command(run_dir))
        except UsageError as error:
            log.warning("%s", error)
    if not found:
        log.info("no run is unfinished")


if __name__ == "__main__":
    run_main(main, log_format="restart | %(message)s")
