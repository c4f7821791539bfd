"""What a base learns from in its own run: the episodes that succeeded, and what a person corrected."""

from pathlib import Path

import numpy as np

from learner.base_training.episodes import EpisodeSet
from learner.replay.dataset.arrow import Array
from learner.replay.dataset.assembler import EpisodeAssembler
from learner.replay.dataset.episode import Episode
from learner.replay.dataset.manifest import read_manifest
from learner.replay.dataset.read import open_snapshot, read_complete_spec
from learner.replay.prior.dataset import read_dataset
from protocol.arrays import Columns

INTERVENTION = "intervention"


class Successes:
    """See `Memory`. Keeps, of the episodes that have `min_frames` or more, the whole of those that succeeded,
    up to their first success, and of the others the frames at which a person or an expert acted (column
    `intervention`), as parts of episodes.

    Episodes come in the order of their ends, so that a set that was restored is the one that was there."""

    def __init__(self, kept: EpisodeSet, min_frames: int) -> None:
        self._kept, self._min_frames = kept, min_frames
        self._assembler = EpisodeAssembler()
        self.episodes = self.corrected_frames = 0
        """Successful episodes kept, and frames of corrections kept from the other episodes."""

    def restore(self, folder: Path) -> None:
        with open_snapshot(folder) as view:
            self._assembler = EpisodeAssembler(read_manifest(view, read_complete_spec(view)).episodes_done)
            for one in read_dataset(view, f"{folder}", None, None):
                success = np.zeros(len(one.actions), bool) if one.success is None else one.success
                self._judge(one.observations[:-1], one.actions, success, one.intervention)

    def add(self, actor_id: str, session: int, columns: Columns, position: int) -> None:
        for episode in self._assembler.add(actor_id, session, [(columns, position)]):
            self._judge_played(episode)

    def end_session(self, actor_id: str, session: int) -> None:
        for episode in self._assembler.end_session(actor_id, session):
            self._judge_played(episode)

    def figures(self) -> dict[str, float]:
        """For metrics.jsonl."""
        return {
            "successes": float(self.episodes),
            "corrected_frames": float(self.corrected_frames),
            "windows": float(len(self._kept)),
        }

    def _judge_played(self, episode: Episode) -> None:
        observation_dim = len(episode.final_observation)
        action_dim = episode.last_base_plan.shape[1]
        values = episode.values
        self._judge(
            values[:, :observation_dim],
            values[:, observation_dim : observation_dim + action_dim],
            values[:, -1],
            episode.optional.get(INTERVENTION),
        )

    def _judge(self, observations: Array, actions: Array, success: Array, corrected: Array | None) -> None:
        if len(actions) < self._min_frames:
            return
        if success.any():
            end = int(success.reshape(-1).argmax()) + 1
            # Of one that ended at once there is nothing to learn.
            self.episodes += self._kept.add(observations[:end], actions[:end]) > 0
        elif corrected is not None:
            for first, end in _stretches(corrected.reshape(-1)):
                self.corrected_frames += end - first
                self._kept.add(observations[first:end], actions[first:end], is_whole=False)


def _stretches(flags: Array) -> list[tuple[int, int]]:
    """First frame and end of every stretch of true flags."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], flags.astype(np.int8), [0]])))
    return [(int(first), int(end)) for first, end in edges.reshape(-1, 2)]
