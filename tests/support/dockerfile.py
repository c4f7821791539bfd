"""What a Dockerfile says, as far as ours goes."""

import re
import shlex
from dataclasses import dataclass, field
from pathlib import Path


@dataclass
class Stage:
    """One target, with the instructions of the stages that it starts from before its own."""

    name: str
    steps: list[tuple[str, str]] = field(default_factory=list)
    """Instruction and its text, in order."""

    def all(self, instruction: str) -> list[str]:
        return [text for name, text in self.steps if name == instruction]

    @property
    def copies(self) -> list[str]:
        """What is copied from the repository."""
        words = [shlex.split(text) for text in self.all("COPY")]
        return [word for line in words for word in line[:-1] if not word.startswith("--")]

    def as_user(self) -> list[tuple[str, str]]:
        """The steps after the last USER."""
        last = max(number for number, (name, _) in enumerate(self.steps) if name == "USER")
        return self.steps[last + 1 :]


def read_stages(path: Path) -> dict[str, Stage]:
    stages: dict[str, Stage] = {}
    current = Stage("")
    text = re.sub(r"^#.*\n", "", path.read_text(), flags=re.M).replace("\\\n", " ")
    for line in filter(None, text.splitlines()):
        instruction, _, rest = line.partition(" ")
        if instruction == "FROM":
            source, _, name = rest.split()
            before = stages[source].steps if source in stages else [("FROM", source)]
            current = stages[name] = Stage(name, list(before))
        else:
            current.steps.append((instruction, " ".join(rest.split())))
    return stages
