"""Demonstrations as state observations and actions of another control mode, motion-planned or downloaded.

Runs in an environment of its own (`launch/env_demos/setup.sh` makes it), because the planner, mplib
0.1.1, crashes with numpy 2. `launch/demos/start.py` starts it there:

    python -m launch.demos.make_demos SETTINGS_AS_JSON PYTHON_OF_THE_MAIN_ENVIRONMENT
"""

import argparse
import json
import logging
import multiprocessing
import queue
import shutil
import signal
import subprocess
import sys
import zipfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from actor.simulators.headless import prepare_simulator
from config.limits import usable_processors
from config.process import FailedError, run_main
from launch.demos.parts import PLANNED, Parts, converted_name
from launch.demos.plan import convert, work

log = logging.getLogger("make_demos")


class DemosError(FailedError):
    """Demonstrations that cannot be made; one line that says why and what to do."""


def read_settings(text: str) -> SimpleNamespace:
    """The settings of config/demos (`config.demos.DemosConfig`), which another process checked, from JSON."""
    settings = SimpleNamespace(**json.loads(text))
    settings.out = Path(settings.out)
    settings.processes = settings.processes or usable_processors()
    return settings


class Planning:
    """Planner processes over the missing parts, and one bar over what they do."""

    def __init__(self, args: SimpleNamespace, parts: Parts) -> None:
        self._args, self._parts = args, parts
        context = multiprocessing.get_context("spawn")
        self._tasks, self._events = context.Queue(), context.Queue()
        done = parts.finished()
        self._successes = sum(part.successes for part in done)
        self._attempts = sum(part.attempts for part in done)
        self._next = len(done)
        self._workers = [
            context.Process(
                target=work,
                args=(
                    args.task, args.control_mode, args.keep, args.noise,
                    parts.folder / f"planner-{number}.log", self._tasks, self._events,
                ),
                daemon=True,
            )
            for number in range(args.processes)
        ]  # fmt: skip

    def run(self) -> None:
        """Until the parts without a gap hold enough.
        Raises DemosError: too many attempts failed, or a planner process crashed; what is done stays."""
        from tqdm import tqdm

        if self._enough():
            return
        description = f"planning {self._args.task}"
        try:
            for worker in self._workers:
                self._give()
                worker.start()
            with tqdm(total=self._args.episodes, desc=description, file=sys.stdout, mininterval=2) as bar:
                bar.update(min(self._successes, self._args.episodes))
                while not self._enough():
                    self._take(bar)
        finally:
            self._stop()

    def _take(self, bar: Any) -> None:
        """One event, or a look at the processes."""
        try:
            kind, value = self._events.get(timeout=1)
        except queue.Empty:
            self._check()
            return
        if kind == "attempt":
            self._attempts += 1
            self._successes += value
            bar.set_postfix(success=f"{self._successes / self._attempts:.0%}", refresh=False)
            bar.update(int(value and bar.n < bar.total))
        elif not self._enough():
            self._give()

    def _give(self) -> None:
        limit = self._args.episodes * self._args.max_attempts_per_episode
        done = self._parts.finished()
        if sum(part.attempts for part in done) >= limit:
            raise DemosError(
                f"{self._args.task}: only {sum(part.successes for part in done)} of "
                f"{sum(part.attempts for part in done)} plans succeeded, {sum(p.converted for p in done)} of "
                "these also in the other control mode: raise max_attempts_per_episode to go on"
            )
        # A part beyond the first gap may be there already, from a run that was stopped.
        while self._parts.path(self._next).is_dir():
            self._next += 1
        self._tasks.put((self._parts.first_seed_of(self._next), self._parts.path(self._next)))
        self._next += 1

    def _enough(self) -> bool:
        return sum(part.converted for part in self._parts.finished()) >= self._args.episodes

    def _check(self) -> None:
        for number, worker in enumerate(self._workers):
            if not worker.is_alive():
                raise DemosError(
                    f"planner {number} ended with exit code {worker.exitcode}: see "
                    f"{self._parts.folder}/planner-{number}.log; the same command goes on with what is left"
                )

    def _stop(self) -> None:
        for worker in self._workers:
            if worker.pid is not None:
                worker.terminate()
                worker.join()


def plan(args: SimpleNamespace) -> Path:
    """Plan, convert and merge; returns the path of the converted h5."""
    from mani_skill.examples.motionplanning.panda.run import MP_SOLUTIONS

    if args.task not in MP_SOLUTIONS:
        raise DemosError(f"task={args.task} has no motion planner: choose one of {sorted(MP_SOLUTIONS)}")
    folder = args.out / args.task
    parts = Parts(folder, args.control_mode, args.first_seed, args.keep, args.noise)
    Planning(args, parts).run()
    planned, converted = parts.merge(folder, args.episodes)
    rate = 100 * converted / planned
    log.info("conversion to %s: %d of %d (%.0f %%)", args.control_mode, converted, planned, rate)
    return folder / f"{converted_name(args.control_mode)}.h5"


def download(args: SimpleNamespace) -> Path:
    """ManiSkill's own demonstrations of the task, converted; returns the path of the converted h5."""
    from mani_skill.utils import download_demo

    if args.task not in download_demo.DATASET_SOURCES:
        raise DemosError(
            f"task={args.task} has no demonstrations to download: choose one of "
            f"{sorted(download_demo.DATASET_SOURCES)}, or source=plan"
        )
    try:
        download_demo.main(argparse.Namespace(uid=args.task, output_dir=str(args.out), quiet=False))
    except (OSError, zipfile.BadZipFile) as error:
        raise DemosError(f"ManiSkill's demonstrations could not be downloaded: {error}") from error
    return take_downloaded(args.out / args.task, args.control_mode, args.episodes, args.noise)


def take_downloaded(folder: Path, control_mode: str, episodes: int, noise: float = 0.0) -> Path:
    """Convert the motion-planned trajectories that ManiSkill's archive left below `folder`.
    Raises DemosError: there are none."""
    found = sorted(folder.rglob("motionplanning/trajectory.h5")) or sorted(folder.rglob("trajectory.h5"))
    if not found:
        raise DemosError(f"no trajectory.h5 below {folder}")
    planned = folder / f"{PLANNED}.h5"
    shutil.copy(found[0], planned)
    described = json.loads(found[0].with_suffix(".json").read_text())
    described["env_info"]["env_kwargs"]["render_backend"] = prepare_simulator()
    described["episodes"] = described["episodes"][:episodes]
    planned.with_suffix(".json").write_text(json.dumps(described))
    convert(planned, control_mode, "success", noise)
    converted = planned.with_name(f"{converted_name(control_mode)}.h5")
    survived = len(json.loads(converted.with_suffix(".json").read_text())["episodes"])
    log.info("conversion to %s: %d of %d", control_mode, survived, len(described["episodes"]))
    return converted


def main(argv: list[str]) -> int:
    args, python = read_settings(argv[0]), argv[1]
    # As Ctrl-C does: planners go along.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    prepare_simulator()
    converted = plan(args) if args.source == "plan" else download(args)
    log.info("demonstrations: %s", converted)
    if args.lerobot or args.cameras:
        # LeRobot lives in the main environment, with numpy 2.
        words = [python, "-m", "launch.demos.drawn", argv[0], str(converted)]
        return subprocess.run(words, check=False).returncode
    return 0


if __name__ == "__main__":
    run_main(main)
