"""residual-rl page in a process of its own."""

import re
import subprocess
import sys
from pathlib import Path


class PageProcess:
    """A context manager. `said`: its lines, up to the one that says where it is."""

    def __init__(self, run_dir: Path, *words: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "launch", "page", str(run_dir), *words],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, stdin=subprocess.DEVNULL,
        )  # fmt: skip
        assert self.process.stdout is not None
        self.said = [self.process.stdout.readline()]
        if "is taken" in self.said[0]:
            self.said.append(self.process.stdout.readline())
        found = re.match(r"(http://[^ ]+) shows", self.said[-1])
        assert found, self.said
        self.url = found[1]

    def __enter__(self) -> "PageProcess":
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.communicate()
