"""Success of published methods beside the default recipe's, on the same bases (5 to 90 minutes a run).

Sides are the settings of config/experiment/methods.yaml: methods x tasks x training seeds, one run after the
other by the study runner. What the record has for the same code is not run again, so it goes on where it
stopped. Words are those of `residual-rl study`: tasks=[pick_cube] 'seeds=[0]' learner.total_frames=60000.

Afterwards it writes a table with one row a run, and a picture. Success at so many frames is that of the full
residual, straight between two evaluations. Frames, updates and processor seconds to a level are those of the
first evaluation that reached it; processor seconds are those of learner and actors together.
"""

import contextlib
import json
import statistics
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

import psutil

from benchmarks.command import make_parser, print_result
from benchmarks.methods_table import Record, make_table, spent_file
from config.process import stop_on_signals
from launch.run.folder import MetricsReader, Point
from launch.study.plot import choose, draw
from launch.study.records import read_records
from launch.study.study import Study, read_study, run_study, trials

KEYS = {
    "planned": "runs of the study",
    "finished": "of them that finished",
    "final.*": "success of the full residual of a method after all its frames, mean over tasks and seeds",
    "table": "file with one row a run, in Markdown",
    "picture": "file with a panel a task; null: no run was evaluated",
}
LOOK_S = 1.0
# Who is not counted: how often is evaluated and what is shown is not the method's.
BESIDE = ("actor.evaluate", " report ", " page ")


class Spending:
    """Writes the processor seconds of the study's newest run beside its logs, at each of its points."""

    def __init__(self, study: Study) -> None:
        self._study, self._over = study, threading.Event()
        self._earlier, self._name = {run.name for run in runs_of(study)}, ""
        self._reader = MetricsReader(Path(study.runs_dir))
        self._seconds: dict[tuple[int, float], float] = {}
        self._thread = threading.Thread(target=self._follow, daemon=True)

    def __enter__(self) -> "Spending":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _follow(self) -> None:
        while not self._over.wait(LOOK_S):
            self.look()

    def look(self) -> None:
        """At the processes below this one, and at what the newest run has done."""
        begun = [run for run in runs_of(self._study) if run.name not in self._earlier]
        if not begun:
            return
        newest = max(begun, key=lambda run: (run / "logs").stat().st_ctime)
        if newest.name != self._name:
            self._name, self._reader, self._seconds = newest.name, MetricsReader(newest), {}
        self._seconds |= processor_s()
        if frames := frames_of(self._reader.read_good()):
            path = spent_file(self._name, self._study.runs_dir)
            with path.open("a") as file:
                file.write(json.dumps([frames, round(sum(self._seconds.values()), 2)]) + "\n")


def runs_of(study: Study) -> list[Path]:
    """The folders of the study's runs that have logs."""
    return [path for path in Path(study.runs_dir).glob(f"{study.name}-*") if (path / "logs").is_dir()]


def frames_of(points: Sequence[Point]) -> int:
    """Of the newest point that is no evaluation; 0: there is none."""
    return next((int(p.get("frames") or 0) for p in reversed(points) if "eval_version" not in p), 0)


def processor_s() -> dict[tuple[int, float], float]:
    """Of each process below this one that learns or acts, by its id and start."""
    found: dict[tuple[int, float], float] = {}
    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess, psutil.ZombieProcess):
            times, line = process.cpu_times(), " ".join(process.cmdline())
            if not any(word in line for word in BESIDE):
                found[process.pid, process.create_time()] = times.user + times.system
    return found


def newest_records(study: Study) -> list[Record]:
    """Of each run of the study its newest record, in the order task, method, seed."""
    newest = {(r["task"], r["setting"], r["seed"]): r for r in read_records(Path(study.record))}
    keys = {(each.task, each.setting, each.seed): each for each in trials(study)}
    ordered = sorted(
        keys, key=lambda key: (study.tasks.index(key[0]), [*study.settings].index(key[1]), key[2])
    )
    return [newest[key] for key in ordered if key in newest and newest[key]["status"] == "finished"]


def finals(records: Sequence[Record]) -> Mapping[str, float]:
    """Of each method the mean of its final successes."""
    by_method: dict[str, list[float]] = {}
    for record in records:
        if record["final"] is not None:
            by_method.setdefault(record["setting"], []).append(record["final"]["success"])
    return {f"final.{method}": round(statistics.mean(each), 3) for method, each in by_method.items()}


def report(study: Study, table: Path, picture: Path) -> dict[str, object]:
    """Write table and picture of what there is; what the last line says."""
    records = newest_records(study)
    table.parent.mkdir(parents=True, exist_ok=True)
    table.write_text(make_table(records, study.runs_dir))
    evaluated = any(record["base"] is not None and record["curves"]["full"] for record in records)
    if evaluated:
        draw(choose(Path(study.record), [*study.settings]), "frames", picture)
    return {
        "planned": len(list(trials(study))),
        "finished": len(records),
        **finals(records),
        "table": str(table),
        "picture": str(picture) if evaluated else None,
    }


def main(argv: list[str]) -> None:
    parser = make_parser("benchmarks.methods", __doc__, KEYS)
    parser.add_argument("--table", type=Path, default=Path("runs/methods-table.md"), help="%(default)s")
    parser.add_argument("--picture", type=Path, default=Path("runs/methods.png"), help="%(default)s")
    parser.add_argument("--report-only", action="store_true", help="run nothing: what the record has")
    parser.add_argument("words", nargs="*", help="key=value or FILE, as for residual-rl study")
    args = parser.parse_args(argv)
    study = read_study(["experiment=methods", *args.words])
    if not args.report_only:
        with Spending(study):
            run_study(study, stop_on_signals())
    print_result(report(study, args.table, args.picture), KEYS)


if __name__ == "__main__":
    main(sys.argv[1:])
