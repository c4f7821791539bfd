"""Inside a network namespace: a learner's intake with keys, and actors in a second namespace.

    python -m tests.system.remote_actor_child FOLDER REPOSITORY COMMAND...

COMMAND starts an actor in REPOSITORY (a checkout). Prints one JSON object: what the intake saw of an
actor with a key and of one without.
"""

import json
import logging
import subprocess
import sys
import time
from pathlib import Path

from actor.policy.make import make_base
from actor.policy.spec import experience_spec
from config.compose import compose_config
from config.shared import describe_run
from launch.make_keys import make_keys
from learner.intake.intake import Intake
from protocol.messages import Progress
from tests.support.namespaces import HERE, Link

PORT = 5588
TIMEOUT_S = 90.0


def main(folder: Path, repository: Path, command: list[str]) -> None:
    logging.basicConfig(level=logging.INFO, stream=sys.stderr)
    keys = folder / "keys"
    make_keys(keys, ["there"])
    ports = (f"wire.experience_port={PORT}", f"wire.weights_port={PORT + 1}")
    config = compose_config([f"wire.host={HERE}", f"wire.keys_dir={keys}", *ports])
    base = make_base(config.base, config.task, "cpu")
    with Link() as link:
        run = describe_run(config, base.fingerprint)
        intake = Intake(config.wire, experience_spec(config, base), queue_rows=1000, run=run)
        intake.start()
        small = ["actor.num_envs=1", "actor.rows_per_batch=4", "wire.connect_timeout_s=60"]
        start = [*link.there, *command, f"tcp://{HERE}:{PORT}"]
        with (folder / "actor.log").open("wb") as output:
            actor = subprocess.Popen(
                [*start, "--keys", str(keys), *small], cwd=repository, stdout=output, stderr=output
            )
            rows, deadline_s = 0, time.monotonic() + TIMEOUT_S
            while rows < 20 and actor.poll() is None and time.monotonic() < deadline_s:
                rows += sum(len(received.columns["frames"]) for received in intake.drain(timeout_s=0.2))
            peers = [(peer.actor_id, peer.address) for peer in intake.peers()]
            intake.announce(Progress(decisions=rows, updates=0, version=0, evaluate=False, finished=True))
            code = actor.wait(TIMEOUT_S)
        stranger = subprocess.run(
            [*start, "wire.insecure=true", *small, "actor.id=stranger"],
            cwd=repository, capture_output=True, text=True, timeout=TIMEOUT_S,
        )  # fmt: skip
        result = {
            "rows": rows, "peers": peers, "exit_code": code, "stranger_code": stranger.returncode,
            "stranger_says": stranger.stderr[-500:], "peers_at_the_end": len(intake.peers()),
            "turned_away": intake.counters().get("turned_away", 0), "log": (folder / "actor.log").read_text(),
        }  # fmt: skip
        intake.close()
    sys.stdout.write(json.dumps(result) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:])
