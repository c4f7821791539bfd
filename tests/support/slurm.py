"""A whole Slurm on this machine, for a test session: a controller and two nodes of two processors each."""

import contextlib
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

PROGRAMS = ("munged", "mungekey", "slurmctld", "slurmd", "sbatch")
INSTALL = "apt-get install --no-install-recommends slurm-wlm munge"
NODES = ("n1", "n2")
# Jobs of `high` take the place of those of `low` and `also_low`, after they had time to end.
CONF = """
ClusterName=tests
SlurmctldHost=localhost(127.0.0.1)
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
SlurmctldPort={ports[0]}
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd-%n.log
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
SlurmdParameters=config_overrides
SchedulerParameters=batch_sched_delay=0,sched_min_interval=0,bf_interval=1
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
KillWait=15
SlurmdTimeout=300
ReturnToService=2
NodeName=n1 NodeHostname=localhost NodeAddr=127.0.0.1 Port={ports[1]} CPUs=2 RealMemory=4000
NodeName=n2 NodeHostname=localhost NodeAddr=127.0.0.1 Port={ports[2]} CPUs=2 RealMemory=4000
PartitionName=low Nodes=n1,n2 Default=YES PriorityTier=1 GraceTime=20 MaxTime=60
PartitionName=also_low Nodes=n1,n2 PriorityTier=1 GraceTime=20 MaxTime=60
PartitionName=high Nodes=n1,n2 PriorityTier=10 PreemptMode=OFF
"""


class Slurm:
    """The daemons, started and ended here. Its programs find it by SLURM_CONF."""

    def __init__(self, folder: Path, ports: tuple[int, ...]) -> None:
        self._folder, self._daemons = folder, dict[str, subprocess.Popen[bytes]]()
        user = psutil.Process().username()
        (folder / "state").mkdir()
        (folder / "slurm.conf").write_text(CONF.format(user=user, folder=folder, ports=ports))
        self.environment = {"SLURM_CONF": str(folder / "slurm.conf")}

    def start(self) -> None:
        key, socket_file = self._folder / "munge.key", self._folder / "munge.socket"
        subprocess.run(["mungekey", "--create", f"--keyfile={key}"], check=True)
        self._daemon(
            "munged", "--foreground", "--force", f"--key-file={key}", f"--socket={socket_file}",
            f"--pid-file={self._folder}/munged.pid", f"--seed-file={self._folder}/munged.seed",
            f"--log-file={self._folder}/munged.log",
        )  # fmt: skip
        self.wait_for(socket_file.exists)
        self._daemon("slurmctld", "-D", "-c")
        for node in NODES:
            self.start_node(node)

    def start_node(self, node: str) -> None:
        self._daemon("slurmd", "-D", "-N", node, name=node)
        self.wait_for(lambda: "IDLE" in self.tell("scontrol", "show", "node", node, check=False))

    def kill_node(self, node: str) -> None:
        """As a power failure does: everything that runs on the node is gone at once."""
        for process in (psutil.Process(self._daemons[node].pid), *self._on_node(node)):
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        self._daemons.pop(node).wait()

    def _on_node(self, node: str) -> list[psutil.Process]:
        """Processes of its jobs, those first that would tell of the others' end."""
        wanted = {"SLURMD_NODENAME": node, **self.environment}
        found: list[psutil.Process] = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                if wanted.items() <= process.environ().items():
                    keepers = (each for each in process.parents() if each.name().startswith("slurmstepd"))
                    found += [*keepers, process]
        return list(dict.fromkeys(found))

    def stop(self) -> None:
        with contextlib.suppress(subprocess.SubprocessError):
            self.tell("scancel", "--me", check=False)
            self.wait_for(lambda: not self.tell("squeue", "--noheader", check=False).strip(), 30)
        for daemon in reversed(list(self._daemons.values())):
            daemon.send_signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                daemon.wait(10)
            daemon.kill()
            daemon.wait()

    def tell(self, *words: str, check: bool = True) -> str:
        """What a program of Slurm prints."""
        environment = os.environ | self.environment
        done = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=60)
        assert not check or done.returncode == 0, f"{words}: {done.stderr}"
        return done.stdout

    def job(self, job: str) -> dict[str, str]:
        """What Slurm knows of a job."""
        words = self.tell("scontrol", "--oneliner", "show", "job", job).split()
        return dict(word.split("=", 1) for word in words if "=" in word)

    def wait_for(self, fact: Callable[[], Any], timeout_s: float = 90.0) -> Any:
        """What `fact` returns once it is true."""
        deadline_s = time.monotonic() + timeout_s
        while not (found := fact()):
            assert time.monotonic() < deadline_s, self._why()
            time.sleep(0.1)
        return found

    def _daemon(self, *words: str, name: str | None = None) -> None:
        log = self._folder / f"{name or words[0]}.out"
        with log.open("ab") as file:
            self._daemons[name or words[0]] = subprocess.Popen(
                words, env=os.environ | self.environment, stdin=subprocess.DEVNULL, stdout=file, stderr=file
            )

    def _why(self) -> str:
        logs = (path.read_text(errors="replace")[-2000:] for path in sorted(self._folder.glob("*.log")))
        return "never became true\n" + "\n".join(logs)


def require_engine(programs: tuple[str, ...], install: str) -> None:
    """Skip the test where a program is missing; with RESIDUAL_RL_ENGINES=1 (launch/test.sh sets it) fail."""
    missing = [program for program in programs if shutil.which(program, path=_path()) is None]
    if missing and os.environ.get("RESIDUAL_RL_ENGINES") == "1":
        pytest.fail(f"{', '.join(missing)} not found: {install}")
    if missing:
        pytest.skip(f"{', '.join(missing)} not found: {install}")


def _path() -> str:
    """Daemons are where an ordinary user's PATH does not look."""
    return os.pathsep.join((os.environ["PATH"], "/usr/sbin", "/sbin"))


@contextlib.contextmanager
def running_slurm(folder: Path, ports: Iterator[int]) -> Iterator[Slurm]:
    require_engine(PROGRAMS, INSTALL)
    slurm = Slurm(folder, (next(ports), next(ports), next(ports)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SLURM_CONF", slurm.environment["SLURM_CONF"])
        patch.setenv("PATH", _path())
        try:
            slurm.start()
            yield slurm
        finally:
            slurm.stop()
