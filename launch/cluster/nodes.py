"""A job of several nodes: the first has the run, the others find it and give it actors."""

import json
import logging
import os
import shutil
import socket
import sys
import time
from pathlib import Path

import msgspec

from config.actor import ActorConfig
from config.compose import read_config
from config.files import replace_text
from config.wire import WireConfig
from config.words import quoted
from launch.cluster.program import Program
from launch.cluster.record import CONFIGURATION, FOLDER
from launch.make_keys import make_keys

log = logging.getLogger("job")

_INVITED_S = 600.0
_AGAIN_S = 5.0


class Invitation(msgspec.Struct, frozen=True):
    """Where the learner of one start of a job is."""

    start: str
    host: str
    experience_port: int
    weights_port: int


class Meeting:
    """Where the nodes of a job meet: files in the run's folder, which all of them see."""

    def __init__(self, run_dir: Path, job: str) -> None:
        self._file, self.keys = run_dir / FOLDER / "learner.json", run_dir / FOLDER / "keys"
        # A job that was put back into the queue has another learner, at another place.
        self._start = f"{job}:{os.environ.get('SLURM_RESTART_COUNT', '0')}"

    def with_keys(self, wire: WireConfig) -> WireConfig:
        """The learner is seen from other nodes, and has keys that are made for this start of the job."""
        if wire.keys_dir is not None:
            return msgspec.structs.replace(wire, host="0.0.0.0")
        shutil.rmtree(self.keys, ignore_errors=True)
        make_keys(self.keys, [])
        return msgspec.structs.replace(wire, host="0.0.0.0", keys_dir=str(self.keys))

    def invite(self, wire: WireConfig) -> None:
        """Tell the other nodes where the learner will be."""
        invitation = Invitation(self._start, socket.gethostname(), wire.experience_port, wire.weights_port)
        replace_text(self._file, json.dumps(msgspec.to_builtins(invitation)) + "\n")

    def invitation(self) -> Invitation | None:
        """The learner of this start; None: not yet known."""
        try:
            found = msgspec.json.decode(self._file.read_bytes(), type=Invitation)
        except (OSError, ValueError):
            return None
        return found if found.start == self._start else None


def run_actors(run_dir: Path, rank: int, meeting: Meeting) -> None:
    """Actors for the learner on the job's first node, until it has told them that the run is over. One that
    fails is started again; the job ends with its first node."""
    invitation = _wait_for(meeting)
    if invitation is None:
        log.warning("the job's first node has not started the run within %.0f s", _INVITED_S)
        return
    config = read_config(run_dir / CONFIGURATION)
    keys = Path(config.wire.keys_dir or meeting.keys)
    first, count = config.actor.index + rank * config.actor.count, config.actor.count
    actors = [msgspec.structs.replace(config.actor, index=index) for index in range(first, first + count)]
    argvs = [_argv(invitation, keys, run_dir.resolve() / "spool", actor) for actor in actors]
    programs = [Program(argv) for argv in argvs]
    while any(program.ended() != 0 for program in programs):
        for place, program in enumerate(programs):
            if program.ended():
                log.warning("an actor ended with exit code %d: starting it again", program.ended())
                time.sleep(_AGAIN_S)
                programs[place] = Program(argvs[place])
        time.sleep(0.5)


def _argv(at: Invitation, keys: Path, spool: Path, actor: ActorConfig) -> tuple[str, ...]:
    """An actor. It keeps in the run's folder what is not durable: the next start of the job sends it."""
    own = {
        "wire.weights_port": at.weights_port, "actor.id": f"actor-{actor.index}", "actor.index": actor.index,
        "actor.spool": quoted(str(spool)), "actor.count": actor.count, "actor.num_envs": actor.num_envs,
        "actor.processes": processes_of(actor, of_learner=0), "actor.backend": actor.backend,
        "actor.device": actor.device, "actor.threads": actor.threads,
        "actor.rows_per_batch": actor.rows_per_batch,
    }  # fmt: skip
    address = f"tcp://{at.host}:{at.experience_port}"
    words = (f"{key}={'null' if value is None else value}" for key, value in own.items())
    return (sys.executable, "-m", "launch", "actor", address, "--keys", str(keys), *words)


def processes_of(actor: ActorConfig, of_learner: int) -> int | None:
    """Simulator processes of each actor on this node: not every Slurm keeps a job to its processors."""
    cpus = os.environ.get("SLURM_CPUS_PER_TASK")
    if actor.processes is not None or cpus is None:
        return actor.processes
    return max(1, (int(cpus) - of_learner) // actor.count)


def _wait_for(meeting: Meeting) -> Invitation | None:
    deadline_s = time.monotonic() + _INVITED_S
    while time.monotonic() < deadline_s:
        if (invitation := meeting.invitation()) is not None:
            return invitation
        time.sleep(0.5)
    return None
