"""`checkpoints/bases/`: the bases that were published, each a folder `v<version>` that can be a base.path;
`best` and `newest` are links to two of them."""

import contextlib
import os
import re
import shutil
from collections.abc import Callable, Generator, Iterable
from pathlib import Path

import msgspec
from safetensors import SafetensorError

from actor.policy.contract import CheckpointError
from config.files import replace_text, size_mb
from learner.checkpoints.best import Score
from protocol.messages import Evaluation

FOLDER, BEST, NEWEST = "bases", "best", "newest"
# The newest two stay in any case; of evaluations that take long the version may be an older one.
_LEAST, _MOST_MB = 2, 1000.0


class PublishedBases:
    """Keeps the best one, and as many of the newest as there is room for.

    `folder`: the run's folder of checkpoints. A best base in it counts: a worse one does not replace it.

    Raises CheckpointError, as `add` and `consider`: something cannot be written, as on a full disk."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder / FOLDER
        self.place = self._folder / BEST
        self._score_file = self._folder / "best.json"
        self.score = self._read_score()
        self._published = self.versions()
        """All, with those that are gone, oldest first."""
        if self.score is not None:
            with self._writing():
                _link(self.place, self._of(self.score.version).name)

    def add(self, version: int, save: Callable[[Path], None]) -> None:
        """Write the base of this version with `save`, and forget what there is no room for."""
        place, fresh = self._of(version), self._folder / f"v{version}.new"
        with self._writing():
            shutil.rmtree(fresh, ignore_errors=True)
            fresh.mkdir(parents=True)
            save(fresh)
            shutil.rmtree(place, ignore_errors=True)
            fresh.rename(place)
            _link(self._folder / NEWEST, place.name)
            self._published.append(version)
            for old in self._superfluous():
                shutil.rmtree(self._of(old))

    def consider(self, evaluations: Iterable[Evaluation]) -> None:
        """The base of each is the best one if it is at least as good as the best before."""
        for evaluation in evaluations:
            # Weights of a version are for the newest base until then.
            known = [version for version in self._published if version <= evaluation.version]
            if evaluation.policy != "full" or not known or not self._of(known[-1]).is_dir():
                continue
            score = Score(known[-1], evaluation.success, len(evaluation.seeds))
            if self.score is None or score.promised >= self.score.promised:
                self.score = score
                with self._writing():
                    replace_text(self._score_file, msgspec.json.encode(score).decode())
                    _link(self.place, self._of(score.version).name)

    def versions(self) -> list[int]:
        """Those that there are, oldest first."""
        found = (re.fullmatch(r"v(\d+)", path.name) for path in self._folder.glob("v*"))
        return sorted(int(match[1]) for match in found if match)

    def _superfluous(self) -> list[int]:
        best = None if self.score is None else self.score.version
        room_mb, gone = _MOST_MB, list[int]()
        for number, version in enumerate(reversed(self.versions())):
            room_mb -= size_mb(self._of(version))
            if number >= _LEAST and room_mb < 0 and version != best:
                gone.append(version)
        return gone

    @contextlib.contextmanager
    def _writing(self) -> Generator[None]:
        try:
            yield
        except (OSError, SafetensorError) as error:
            why = f"{self._folder} cannot be written: {error}: make room, then start again"
            raise CheckpointError(why) from error

    def _of(self, version: int) -> Path:
        return self._folder / f"v{version}"

    def _read_score(self) -> Score | None:
        try:
            score = msgspec.json.decode(self._score_file.read_bytes(), type=Score)
        except (OSError, msgspec.DecodeError):
            return None
        return score if self._of(score.version).is_dir() else None


def _link(link: Path, target: str) -> None:
    """Replace `link` by one to `target` beside it."""
    fresh = link.with_name(f"{link.name}.new")
    fresh.unlink(missing_ok=True)
    fresh.symlink_to(target)
    os.replace(fresh, link)
