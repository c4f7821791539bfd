"""Kill a node of a Ray cluster, and then the learner, while identifiable rows flow; then count the rows.

    python -m tests.system.ray_faults FOLDER

The cluster has a head, which has only the launcher, and two nodes; the learner and its actors are the
processes of tests/system/chaos.py. Prints one JSON object.
"""

import json
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

from ray.cluster_utils import Cluster  # pyright: ignore[reportMissingImports]  # of an extra

from config.compose import compose_launch
from config.process import set_up_logging
from launch.cluster.on_ray.node import for_nodes, shown
from launch.cluster.on_ray.session import joined, living_nodes, seeing
from launch.cluster.on_ray.team import RayTeam
from launch.run.processes import Command, Ended
from learner.folder import sole_learner
from tests.system.chaos import count, make_settings, verdict
from tests.system.chaos_child import main

PATIENCE_S = 240.0
ACTORS = ["actor-0", "actor-1"]


class Flow:
    """The processes under a RayTeam."""

    def __init__(self, folder: Path, run_dir: Path, team: RayTeam) -> None:
        self._folder, self._run_dir, self._team = folder, run_dir, team
        self.ended: list[Ended] = []

    def start(self) -> None:
        settings = self._folder / "settings.json"
        settings.write_text(json.dumps(make_settings(self._folder, "127.0.0.1")))
        learner = (
            sys.executable,
            "-m",
            "tests.system.ray_faults",
            "learner",
            str(settings),
            str(self._run_dir),
        )
        self._team.start(Command("learner", "learner", learner))
        for name in ACTORS:
            actor = (sys.executable, "-m", "tests.system.chaos_child", "actor", str(settings), name)
            self._team.start(Command(name, "actor", actor))

    def pump_until(self, fact: Callable[[], bool]) -> None:
        deadline_s = time.monotonic() + PATIENCE_S
        while not fact():
            assert time.monotonic() < deadline_s, "never became true"
            self.ended += self._team.pump(0.2)

    def flows_again(self) -> None:
        """Until both actors have rows on the learner's disk that they sent from now on."""
        self.flows(ACTORS)
        before = {name: self._durable(name) for name in ACTORS}
        self.pump_until(lambda: all(self._durable(name) > before[name] for name in ACTORS))

    def flows(self, names: list[str]) -> None:
        self.pump_until(lambda: all(self._durable(name) for name in names))

    def signal(self, name: str, number: int) -> None:
        os.kill(pid_of(name, self._folder / "settings.json"), number)

    def _durable(self, name: str) -> int:
        """How often the learner called rows of an actor durable."""
        notes = self._folder / f"{name}.notes"
        return notes.read_text().count('"durable"') if notes.exists() else 0

    def stop(self, name: str) -> None:
        self.signal(name, signal.SIGTERM)
        self.pump_until(lambda: name in [ended.command.name for ended in self.ended])


def pid_of(name: str, settings: Path) -> int:
    """Of the newest process with that role or actor id, and these settings."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            words = (path / "cmdline").read_text().split("\0")
        except OSError:
            continue
        if str(settings) in words and name in words:
            found.append(int(path.name))
    return max(found)


def play(folder: Path) -> dict[str, object]:
    cluster = Cluster(initialize_head=True, head_node_args=node(0))
    nodes = {each.node_id: each for each in (cluster.add_node(**node(4)), cluster.add_node(**node(4)))}
    words = [f"cluster.address={cluster.address}", f"cluster.actors={len(ACTORS)}", "cluster.learner_cpus=2"]
    asked = compose_launch(["cluster=ray", *words, "name=run", f"runs_dir={folder}"])
    config = for_nodes(asked.run, asked.cluster)
    config.run_dir.mkdir()
    lines: list[str] = []
    try:
        with joined(asked.cluster), shown(config) as home:
            see = seeing(living_nodes(), home, PATIENCE_S, strict=True)
            team = RayTeam(
                config.run_dir / "logs", lambda name, line: lines.append(f"{name} | {line}"),
                cluster=asked.cluster, config=config, launch_file=folder / "none", home=home, seeing=see,
            )  # fmt: skip
            flow = Flow(folder, config.run_dir, team)
            flow.start()
            flow.flows_again()
            of_learner = next(n.id for n in see if n.cpus >= 2)
            cluster.remove_node(nodes.pop(of_learner))
            flow.flows_again()
            flow.signal("learner", signal.SIGKILL)
            flow.flows_again()
            for name in (*ACTORS, "learner"):
                flow.stop(name)
            team.end()
        result = count(folder, ACTORS)
        codes = {ended.command.name: ended.code for ended in flow.ended}
        return result | {"broken": verdict(result), "codes": codes, "lines": lines[-5:], "seen_by": len(see)}
    finally:
        cluster.shutdown()


def node(cpus: int) -> dict[str, object]:
    return {"num_cpus": cpus, "object_store_memory": 100 << 20, "include_dashboard": False}


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["learner", settings, run_dir]:
            with sole_learner(Path(run_dir)):  # as a real one: two at once would spoil the journal
                main("learner", settings)
        case [folder]:
            set_up_logging("launch    | %(message)s")
            sys.stdout.write(json.dumps(play(Path(folder))) + "\n")
