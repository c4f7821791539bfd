"""Layout of observations and dimension of actions: python -m actor.simulators.layout <task as JSON>.

Builds one simulator on the CPU and prints both as a JSON list, or, as a string, why no run can play the task.
`config.asked` runs this for tasks that config/spaces.yaml does not know.
"""

import argparse
import sys

import msgspec

from actor.simulators.adapters import simulator_of
from actor.simulators.contract import UnplayableError
from config.process import run_main
from config.task import TaskConfig


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m actor.simulators.layout", description=__doc__)
    parser.add_argument("task", help="the keys of config/task, as JSON")
    task = msgspec.json.decode(parser.parse_args(argv).task, type=TaskConfig)
    try:
        answer = simulator_of(task).state_layout(task)
    except UnplayableError as error:
        answer = str(error)
    sys.stdout.write(msgspec.json.encode(answer).decode() + "\n")
    return 0


if __name__ == "__main__":
    run_main(main)
