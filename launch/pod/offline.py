"""What W&B kept offline is sent, where there is a key."""

import logging
import os
import shlex
import subprocess
import sys
from pathlib import Path

from dotenv import dotenv_values

from learner.tracking.trackers import offline_runs, sync_words

log = logging.getLogger("save")

# For all of a run; W&B tries without end where nobody answers.
_PATIENCE_S = 300.0


def sync_offline(root: Path, runs: Path) -> bool:
    """Send what each run has kept. The key is in the environment or in the project's .env.
    Returns whether nothing is left to send."""
    waiting = [run_dir for run_dir in sorted(runs.glob("*/")) if offline_runs(run_dir)]
    if not waiting:
        log.info("W&B: nothing waits to be sent")
        return True
    settings = {key: value for key, value in dotenv_values(root / ".env").items() if value}
    environment = settings | os.environ
    if not environment.get("WANDB_API_KEY"):
        log.warning(
            "W&B: %d runs wait to be sent, and neither the environment nor %s has WANDB_API_KEY: %s",
            len(waiting), root / ".env", ", ".join(run_dir.name for run_dir in waiting),
        )  # fmt: skip
        return False
    sent = [_send(run_dir, environment) for run_dir in waiting]
    return all(sent)


def _send(run_dir: Path, environment: dict[str, str]) -> bool:
    words = sync_words(offline_runs(run_dir))
    try:
        ended = subprocess.run(
            [sys.executable, "-P", "-m", *words], env=environment, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=_PATIENCE_S,
        )  # fmt: skip
        why = "".join(ended.stdout.strip().splitlines()[-1:])
    except subprocess.TimeoutExpired:
        why = f"not sent within {_PATIENCE_S:.0f} s"
    if offline_runs(run_dir):
        log.warning("W&B: %s is not sent: %s: %s", run_dir.name, why, shlex.join(words))
        return False
    log.info("W&B: sent %s", run_dir.name)
    return True
