"""A learner process for tests that writes down which decisions its batches used.

python -m tests.system.on_policy_child NOTES KEY=VALUE...: lines of JSON, `{"resumed": batch}` when a process
went on from a checkpoint, and `{"batch": number, "used": [...]}` with session, sub-environment, episode and
decision of each row.
"""

import json
import sys
from pathlib import Path
from typing import Any

import torch

from config.compose import run_configured
from learner.on_policy.batches import Minibatches
from learner.on_policy.collector import Collector
from learner.run import run_learner

IDENTITY = ("session", "sub_env", "episode", "decision")


def watch(notes: Path) -> None:
    begin, load, take, give_back = (
        Minibatches.begin, Minibatches.load_state, Collector.take, Collector.give_back,
    )  # fmt: skip
    rows: dict[str, list[tuple[int, ...]]] = {}

    def identities(content: dict[str, torch.Tensor]) -> list[tuple[int, ...]]:
        return list(zip(*(content[name].tolist() for name in IDENTITY), strict=True))

    def note(**fact: Any) -> None:
        with notes.open("a") as file:
            file.write(json.dumps(fact) + "\n")

    def taken(self: Collector) -> Any:
        content = take(self)
        rows["taken"] = identities(content)
        return content

    def given_back(self: Collector, content: Any) -> None:
        rows["left"] = identities(content)
        give_back(self, content)

    def began(self: Minibatches) -> None:
        number = self._collector.batch
        begin(self)
        left = {*rows["left"]}
        note(batch=number, used=[row for row in rows["taken"] if row not in left])

    def loaded(self: Minibatches, state: dict[str, Any]) -> None:
        load(self, state)
        note(resumed=self._collector.batch)

    Collector.take, Collector.give_back = taken, given_back
    Minibatches.begin, Minibatches.load_state = began, loaded


if __name__ == "__main__":
    watch(Path(sys.argv.pop(1)))
    run_configured(__doc__ or "", lambda: run_learner)
