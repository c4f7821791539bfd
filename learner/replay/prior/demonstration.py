"""A recorded episode, wherever it comes from."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace

import numpy as np

from learner.replay.dataset.arrow import Array
from learner.replay.prior.error import DemonstrationError


@dataclass(frozen=True)
class Demonstration:
    """One recorded episode of T actions."""

    observations: Array
    """f4 (T + 1, O)"""
    actions: Array
    """f4 (T, A), those to imitate."""
    success: Array
    """b1 (T,)"""
    executed: Array | None = None
    """f4 (T, A), where pushes disturbed the episode: the actions that were executed."""
    base_actions: Array | None = None
    """f4 (T, A), in a run's replay: what its base planned."""
    pictures: Mapping[str, Array] = field(default_factory=dict[str, Array])
    """Of each camera u1 (T, height, width, 3), what it showed before each action. Readers give none:
    `learner.replay.prior.pictures` adds them."""

    @property
    def taken(self) -> Array:
        """The actions (T, A) that led from one observation to the next."""
        return self.actions if self.executed is None else self.executed

    def cut_at_success(self) -> "Demonstration":
        """The episode as the task would have ended it: at its first successful frame."""
        if not self.success.any():
            return self
        frames = int(np.argmax(self.success)) + 1
        arrays: dict[str, Array | None] = {
            each.name: getattr(self, each.name) for each in fields(self) if each.name != "pictures"
        }
        cut = {name: array[:frames] for name, array in arrays.items() if array is not None}
        cut["observations"] = self.observations[: frames + 1]
        pictures = {camera: shown[:frames] for camera, shown in self.pictures.items()}
        return replace(self, **cut, pictures=pictures)


def require_usable(episodes: Sequence[Demonstration], source: str) -> None:
    """Look at every episode before anything is trained on it.
    Raises DemonstrationError: no episodes or an empty one, lengths that do not fit each other, dimensions
    that differ between episodes, observations that are all zero, or a value that is not finite; names source,
    episode, frame and feature."""
    if not episodes:
        raise DemonstrationError(f"{source} holds no episodes")
    for number, episode in enumerate(episodes):
        where = f"{source}, episode {number}"
        _require_lengths(episode, where)
        if not episode.observations.any():
            raise DemonstrationError(f"{where}: all observations are zero: nothing was recorded, remove it")
        for name in ("observations", "actions", "executed", "base_actions"):
            values, first = getattr(episode, name), getattr(episodes[0], name)
            if values is not None:
                _require_like_first(values, first, f"{where}: {name}")


def _require_lengths(episode: Demonstration, where: str) -> None:
    frames = len(episode.actions)
    if not frames:
        raise DemonstrationError(f"{where} has no actions: remove it")
    lengths = {"observations": frames + 1, "success": frames, "executed": frames, "base_actions": frames}
    for name, wanted in lengths.items():
        values = getattr(episode, name)
        if name == "observations" and len(values) == frames:
            raise DemonstrationError(
                f"{where}: {frames} observations for {frames} actions: the one after the last action is "
                "missing. ManiSkill's RecordEpisode(env, folder, save_trajectory=True) keeps it, and so does "
                "python -m mani_skill.trajectory.replay_trajectory --traj-path <file> -o state --save-traj; "
                "of a LeRobot dataset the last one is used twice"
            )
        if values is not None and len(values) != wanted:
            raise DemonstrationError(
                f"{where}: {len(values)} {name} for {frames} actions, there must be {wanted} (an observation "
                "before every action and one after the last)"
            )


def _require_like_first(values: Array, first: Array | None, what: str) -> None:
    """Raise DemonstrationError unless `values` (T, D) are finite and as wide as the first episode's."""
    if values.ndim != 2 or first is None or values.shape[1:] != first.shape[1:] or not values.shape[1]:
        known = first is not None and first.ndim == 2 and first.shape[1]
        wanted = f"(frames, {known})" if known else "(frames, dimensions)"
        raise DemonstrationError(f"{what} have shape {values.shape}, not {wanted}")
    wrong = np.argwhere(~np.isfinite(values))
    if len(wrong):
        frame, dimension = wrong[0].tolist()
        raise DemonstrationError(
            f"{what} at frame {frame}, dimension {dimension} is {values[frame, dimension]}, one of "
            f"{len(wrong)} such values: remove the episode or mend its recording"
        )
