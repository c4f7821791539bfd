"""Episodes of a LeRobot dataset, as a policy sees them."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from config.process import UsageError


@dataclass(frozen=True)
class Recorded:
    """One episode of T frames.

    Attributes:
        observations: feature -> (T, dimension).
        images: feature -> u1 (T, height, width, 3).
        actions: (T, A)
        instruction: the episode's task, in words.
    """

    index: int
    observations: dict[str, Tensor]
    images: dict[str, Tensor]
    actions: Tensor
    instruction: str


class Dataset:
    """A dataset in a folder, or of the Hub. Raises UsageError: it is none, or cannot be had."""

    def __init__(self, place: str) -> None:
        from lerobot.datasets.lerobot_dataset import LeRobotDataset

        folder = Path(place)
        if folder.is_dir() and not (folder / "meta" / "info.json").is_file():
            raise UsageError(f"{place} is no LeRobot dataset: meta/info.json is missing")
        if not folder.is_dir() and place.count("/") != 1:
            raise UsageError(f"{place} is neither a folder nor a name of the Hub")
        try:
            self._dataset: Any = LeRobotDataset(
                folder.name if folder.is_dir() else place, root=folder if folder.is_dir() else None
            )
        # LeRobot's reader raises a dozen kinds of its own and of its libraries.
        except Exception as error:
            raise UsageError(f"{place} cannot be opened: {' '.join(str(error).split())[:300]}") from error
        self.place = place
        self.features: Mapping[str, Any] = self._dataset.meta.features

    @property
    def episodes(self) -> int:
        return self._dataset.meta.total_episodes

    def read(self, names: tuple[str, ...], pictures: tuple[str, ...], episodes: int) -> Iterator[Recorded]:
        """The first episodes. `names`, `pictures`: the features that the policy wants.
        Raises UsageError: an episode has a value that is not finite."""
        for index in range(min(episodes, self.episodes)):
            row = self._dataset.meta.episodes[index]
            first, end = int(row["dataset_from_index"]), int(row["dataset_to_index"])
            frames = [self._dataset[i] for i in range(first, end)]
            numbers = {
                name: torch.stack([frame[name].float().reshape(-1) for frame in frames])
                for name in (*names, "action")
            }
            self._require_finite(index, numbers)
            yield Recorded(
                index,
                {name: numbers[name] for name in names},
                {name: torch.stack([_picture(frame[name]) for frame in frames]) for name in pictures},
                numbers["action"],
                str(frames[0].get("task", "")),
            )

    def _require_finite(self, episode: int, numbers: Mapping[str, Tensor]) -> None:
        for name, values in numbers.items():
            if not values.isfinite().all():
                frame = int((~values.isfinite()).any(dim=1).nonzero()[0])
                raise UsageError(
                    f"{self.place}, episode {episode}, frame {frame}: {name} is not finite: leave that "
                    "episode out, or mend it"
                )

    def require(self, wanted: Mapping[str, tuple[int, ...]], of: str) -> None:
        """Raise UsageError unless it has features of these shapes, those of policy `of`."""
        for name, shape in wanted.items():
            if name not in self.features:
                raise UsageError(
                    f"{of} takes {name}, which {self.place} lacks: it has {', '.join(self.features)}"
                )
            found = self.features[name]["shape"]
            if int(np.prod(found)) != int(np.prod(shape)):
                raise UsageError(f"{of} takes {name} of shape {[*shape]}, in {self.place} it is {[*found]}")


def _picture(image: Tensor) -> Tensor:
    """u1 (height, width, 3) of LeRobot's (3, height, width) in [0, 1]."""
    return (image.movedim(0, -1) * 255).round().to(torch.uint8)
