"""python -m learner.replay verify|repair|info|export|merge PATH: see --help."""

import argparse
import logging
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
from rich.console import Console
from rich.table import Table

from config.process import run_main
from learner.replay.dataset.format.layout import ORIGIN_PATH
from learner.replay.dataset.format.spec import DatasetError
from learner.replay.dataset.read import open_snapshot, read_info, read_json
from learner.replay.tools.merge import Selection, export, merge
from learner.replay.tools.outcomes import read_outcomes
from learner.replay.tools.repair import repair
from learner.replay.tools.verify import verify

log = logging.getLogger("replay")

EPILOG = """
PATH is the folder that holds meta/, for a run runs/<name>/replay. verify and info read any LeRobot v3.0
dataset; the others those that this replay wrote. Nothing but repair changes PATH, once its run is over.

examples:
  python -m learner.replay verify runs/my-run/replay
  python -m learner.replay repair runs/my-run/replay
  python -m learner.replay export runs/my-run/replay out/good --successes --after-version 40
  python -m learner.replay merge out/all runs/one/replay runs/two/replay
"""


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m learner.replay",
        description="Checks, mends and cuts replays on disk.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, argv in (
        ("verify", "say every problem, a line each; exit code 1 if there is one"),
        ("repair", "cut to the longest whole prefix, and say what had to go"),
        ("info", "what is in it"),
    ):
        command = commands.add_parser(name, help=argv, description=argv)
        command.add_argument("path", type=Path, metavar="PATH")
    argv = "write some of the episodes as a new dataset"
    command = commands.add_parser("export", help=argv, description=argv)
    command.add_argument("path", type=Path, metavar="PATH")
    command.add_argument("target", type=Path, metavar="TARGET", help="folder of the new dataset")
    command.add_argument("--successes", action="store_true", help="only episodes with a success")
    command.add_argument(
        "--after-version", type=int, metavar="N", help="only episodes begun with weights after version N"
    )
    command.add_argument(
        "--actor", action="append", default=[], metavar="ID", help="only of this actor; may be repeated"
    )
    argv = "write the episodes of several datasets as a new one"
    command = commands.add_parser("merge", help=argv, description=argv)
    command.add_argument("target", type=Path, metavar="TARGET", help="folder of the new dataset")
    command.add_argument("paths", type=Path, nargs="+", metavar="PATH")
    return parser


def main(argv: list[str]) -> int:
    args = make_parser().parse_args(argv)
    try:
        match args.command:
            case "verify":
                return _verify(args.path)
            case "repair":
                return _repair(args.path)
            case "info":
                return _info(args.path)
            case "export":
                selection = Selection(args.successes, args.after_version, tuple(args.actor))
                made = export(args.path, args.target, selection)
            case _:
                made = merge(args.paths, args.target)
    except DatasetError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    except pa.ArrowException as error:
        sys.stderr.write(f"a file is damaged, verify says which: {str(error).splitlines()[0]}\n")
        return 1
    log.info("%d episodes, %d frames in %s", made.episodes, made.frames, args.target)
    return 0


def _verify(path: Path) -> int:
    problems = verify(path)
    for problem in problems:
        log.info("%s", problem)
    if not problems:
        # May have grown by now.
        info = read_info(path)
        log.info("%s is whole: %d episodes, %d frames", path, info["total_episodes"], info["total_frames"])
    return 1 if problems else 0


def _repair(path: Path) -> int:
    repaired = repair(path)
    for line in repaired.dropped:
        log.info("dropped: %s", line)
    log.info("%s is whole: %d episodes, %d frames", path, repaired.episodes, repaired.frames)
    return 0


def _info(path: Path) -> int:
    with open_snapshot(path) as view:
        rows, features = _described(view)
    table = Table(title=str(path), show_header=False)
    for name, value in rows.items():
        table.add_row(name, str(value))
    columns = Table("column", "type", "shape")
    for name, feature in features.items():
        columns.add_row(name, feature["dtype"], " x ".join(map(str, feature["shape"])))
    console = Console()
    console.print(table, columns)
    return 0


def _described(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """What is in a dataset: facts in words, and its features."""
    info, outcomes = read_info(path), read_outcomes(path)
    known = [outcome.success for outcome in outcomes if outcome.success is not None]
    lengths = [outcome.frames for outcome in outcomes]
    files = [file for file in path.rglob("*") if file.is_file()]
    rows = {
        "episodes": f"{info['total_episodes']:,}",
        "frames": f"{info['total_frames']:,}",
        "frames an episode": f"{min(lengths)} .. {max(lengths)}, mean {sum(lengths) / len(lengths):.1f}",
        "success": f"{100 * sum(known) / len(known):.1f} %" if known else "not recorded",
        "frames a second": info["fps"],
        "robot": info["robot_type"],
        "on disk": f"{sum(file.stat().st_size for file in files) / 1e6:,.1f} MB in {len(files)} files",
    }
    if (path / ORIGIN_PATH).exists():
        origin = read_json(path, ORIGIN_PATH)
        versions = [outcome.version for outcome in outcomes if outcome.version is not None]
        rows |= {
            "task": origin["task"],
            "actors": ", ".join(origin["actors"]),
            "weights versions": f"{min(versions)} .. {max(versions)}",
        }
    return rows, info["features"]


if __name__ == "__main__":
    run_main(main)
