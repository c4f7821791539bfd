"""Frames with their labels: what observations look like where the task is solved, and where it is not."""

from dataclasses import dataclass

import numpy as np

from config.train_reward import RewardTraining
from learner.replay.dataset.arrow import Array
from learner.replay.prior.demonstration import Demonstration
from learner.replay.prior.error import DemonstrationError
from learner.replay.prior.read import Wanted, read_demonstrations


@dataclass(frozen=True)
class Labels:
    """Of M frames of all episodes, in order."""

    success: Array
    """b1 (M,): whether the task is solved in the frame's observation."""
    episode: Array
    """i8 (M,): number of its episode."""

    @property
    def succeeds(self) -> Array:
        """b1 (episodes,): whether the episode has a successful frame."""
        found = np.zeros(int(self.episode.max()) + 1, bool)
        found[self.episode[self.success]] = True
        return found

    def near(self, frames: int) -> Array:
        """b1 (M,): within so many frames before a successful one of its episode, itself not successful."""
        near = np.zeros(len(self.success), bool)
        for ahead in range(1, frames + 1):
            same = self.episode[:-ahead] == self.episode[ahead:]
            near[:-ahead] |= self.success[ahead:] & same
        return near & ~self.success

    def folds(self, count: int, seed: int) -> Array:
        """i8 (M,): which of `count` parts each frame belongs to. Frames of an episode stay together, and
        successful episodes are spread evenly.
        Raises DemonstrationError: fewer episodes of one kind than parts."""
        succeeds, rng = self.succeeds, np.random.default_rng(seed)
        part = np.zeros(len(succeeds), np.int64)
        for kind in (True, False):
            [of_kind] = (succeeds == kind).nonzero()
            part[rng.permutation(of_kind)] = np.arange(len(of_kind)) % count
        if (least := int(succeeds.sum())) < count:
            raise DemonstrationError(
                f"{least} episodes are successful, folds={count} parts need one each: give more episodes, or "
                "fewer parts"
            )
        return part[self.episode]


def read_episodes(asked: RewardTraining) -> list[Demonstration]:
    """All episodes of all sources.
    Raises DemonstrationError: not there, not readable, not of the task, or with labels of one class."""
    settings, task = asked.settings, asked.task
    wanted = Wanted(
        env_id=task.env_id,
        control_mode=task.control_mode,
        last_frame_succeeds=settings.demos_without_success == "last_frame",
        other_tasks=settings.demos_of_other_tasks == "accept",
    )
    episodes: list[Demonstration] = []
    for source in settings.sources:
        found = read_demonstrations(source, wanted).episodes
        width, known = (each[0].observations.shape[1] for each in (found, episodes or found))
        if width != known:
            raise DemonstrationError(
                f"{source} has observation dimension {width}, {settings.sources[0]} has {known}: choose data "
                "of one task"
            )
        episodes += found
    return episodes


def labels_of(episodes: list[Demonstration], sources: tuple[str, ...]) -> Labels:
    """An episode of T actions has T + 1 frames; success is of the frame after an action.
    Raises DemonstrationError: labels of one class."""
    success = np.concatenate([np.concatenate([[False], episode.success]) for episode in episodes])
    numbers = np.repeat(np.arange(len(episodes)), [len(episode.success) + 1 for episode in episodes])
    if not success.any():
        raise DemonstrationError(
            f"{', '.join(sources)}: none of {len(episodes)} episodes has a successful frame, a classifier "
            "needs both kinds: add demonstrations, or episodes of a better policy"
        )
    if success.all():
        raise DemonstrationError(
            f"{', '.join(sources)}: every frame is marked successful, a classifier needs both kinds: add "
            "episodes that fail"
        )
    return Labels(success, numbers)
