"""Which frames of recorded episodes were successful: what their data says, by one rule for all formats.

1. Success from success: `success` of a ManiSkill file, `next.success` of a LeRobot dataset.
2. Else from a sparse reward (`rewards`, `next.reward`): of a reward of 0 and 1 the frames with 1, of one of
   -1 and 0 those with 0.
3. Else the data does not say it: the last frame of every episode where the caller allows that.
"""

from collections.abc import Sequence

import numpy as np

from learner.replay.dataset.arrow import Array
from learner.replay.prior.error import DemonstrationError
from learner.replay.prior.recording import Recording


def settle_success(
    episodes: Sequence[Recording], source: str, *, or_last_frame: bool, allowed_by: str
) -> list[Array]:
    """Whether each frame was successful, b1 (T,) for every episode.
    Raises DemonstrationError: nothing says it, and `or_last_frame` is false; names the setting `allowed_by`.
    Or a reward that is needed is not finite.
    """
    if not episodes:
        return []
    success = _whole(episodes, "success", source)
    if success is not None:
        _require_flags(success, source)
        return [values.astype(bool) for values in success]
    reward = _whole(episodes, "reward", source)
    _require_finite(reward or (), source)
    marked = None if reward is None else _of_reward(reward)
    if marked is not None:
        return marked
    if or_last_frame:
        return [np.arange(frames) == frames - 1 for frames in (len(episode.actions) for episode in episodes)]
    lacks = "no reward" if reward is None else _described(reward)
    raise DemonstrationError(
        f"{source} does not say which frames were successful: it has no success and {lacks}; if every "
        f"episode ended in success, say so with {allowed_by}"
    )


def _whole(episodes: Sequence[Recording], name: str, source: str) -> list[Array] | None:
    """(T,) of every episode, None if no episode has it."""
    columns = [getattr(episode, name) for episode in episodes]
    missing = [number for number, column in enumerate(columns) if column is None]
    if len(missing) == len(columns):
        return None
    if missing:
        raise DemonstrationError(f"{source}, episode {missing[0]}: it has no {name}, other episodes have")
    for number, column in enumerate(columns):
        if column.ndim == 0 or column.size != len(column):
            raise DemonstrationError(
                f"{source}, episode {number}: {name} has shape {column.shape}, not (frames,) or (frames, 1)"
            )
    return [column.reshape(-1) for column in columns]


def _require_flags(success: Sequence[Array], source: str) -> None:
    for number, values in enumerate(success):
        wrong = np.flatnonzero((values != 0) & (values != 1))
        if len(wrong):
            raise DemonstrationError(
                f"{source}, episode {number}: success at frame {wrong[0]} is {values[wrong[0]]}, not 0 or 1"
            )


def _require_finite(reward: Sequence[Array], source: str) -> None:
    for number, values in enumerate(reward):
        wrong = np.flatnonzero(~np.isfinite(values))
        if len(wrong):
            raise DemonstrationError(
                f"{source}, episode {number}: the reward at frame {wrong[0]} is {values[wrong[0]]}, one of "
                f"{len(wrong)} such values: remove the episode or mend its recording"
            )


def _of_reward(reward: Sequence[Array]) -> list[Array] | None:
    """None: dense, or the same at every frame, which marks nothing."""
    values = {float(value) for value in np.unique(np.concatenate(reward))}
    for usual, successful in ((0.0, 1.0), (-1.0, 0.0)):
        if values == {usual, successful}:
            return [column == successful for column in reward]
    return None


def _described(reward: Sequence[Array]) -> str:
    values = np.concatenate(reward)
    if not len(values) or values.min() == values.max():
        return f"the same reward everywhere ({values[0] if len(values) else 'none'})"
    return f"a dense reward ({values.min():.3g} .. {values.max():.3g}, not 0 and 1 or -1 and 0)"
