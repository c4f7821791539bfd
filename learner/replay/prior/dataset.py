"""LeRobot datasets in a folder as recorded episodes, read without LeRobot, whose import takes seconds."""

import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from learner.replay.dataset.arrow import Array
from learner.replay.dataset.format.layout import ORIGIN_PATH, parquet_files
from learner.replay.dataset.read import read_info
from learner.replay.prior.error import DemonstrationError
from learner.replay.prior.frames import float32, numbers, read_columns
from learner.replay.prior.recording import Recording

STATE, ACTION = "observation.state", "action"
SUCCESS, REWARD, DONE = "next.success", "next.reward", "next.done"
BASE_ACTION, BASE_VERSION, EPISODE, FRAME = "base_action", "base_version", "episode_index", "frame_index"
INTERVENTION = "is_intervention"
_STANDARD = (STATE, "observation.environment_state")


class _Info(msgspec.Struct):
    """What is read of info.json."""

    features: dict[str, Any]
    fps: float
    total_episodes: int
    total_frames: int = 0


def read_dataset(
    view: Path, source: str, observation: Sequence[str] | None, fps: int | None
) -> list[Recording]:
    """Episodes of a LeRobot v3.0 dataset; messages name `source`.

    This project's replays have the observation after the last action; for other datasets the last recorded
    one is used twice.

    Args:
        observation: features that make up an observation, one after another; None: observation.state, and
            observation.environment_state if there is one.
        fps: what the dataset must have; None: anything.

    Raises:
        DatasetError: another version.
        DemonstrationError: another fps, without these features (lists those there are), or broken.
    """
    info = _read_info(view, source)
    if fps is not None and info.fps != fps:
        raise DemonstrationError(f"{source} has fps {info.fps:g}, this run {fps}")
    usual = [name for name in _STANDARD if name in info.features] or [STATE]
    columns = usual if observation is None else list(observation)
    for name in [*columns, ACTION]:
        if name not in info.features:
            raise DemonstrationError(f"{source} has no feature {name}, it has {sorted(info.features)}")
    ours = [BASE_ACTION, BASE_VERSION] if (view / ORIGIN_PATH).is_file() else []
    extra = [name for name in (SUCCESS, REWARD, FRAME, INTERVENTION, *ours) if name in info.features]
    files = [
        _DataFile(view, path, source, [*columns, ACTION, EPISODE, *extra])
        for path in parquet_files(view / "data")
    ]
    found = [number for file in files for number in file.episode_numbers]
    _require_apart(found, source)
    _require_count("episodes", len(found), info.total_episodes, source)
    episodes = [episode for file in files for episode in file.episodes(columns, with_finals=columns == usual)]
    _require_count("frames", sum(len(one.actions) for one in episodes), info.total_frames, source)
    return episodes


def _read_info(view: Path, source: str) -> _Info:
    try:
        return msgspec.convert(read_info(view), _Info)
    except msgspec.ValidationError as error:
        raise DemonstrationError(f"{source}: meta/info.json is broken: {error}") from error


def _require_apart(numbers_found: list[int], source: str) -> None:
    """Raise DemonstrationError if an episode is in two places."""
    twice = [number for number, count in itertools.groupby(sorted(numbers_found)) if len(list(count)) > 1]
    if twice:
        raise DemonstrationError(f"{source}: episode_index {twice[0]} is in two places: its frames are mixed")


def _require_count(what: str, found: int, counted: int, source: str) -> None:
    """Raise DemonstrationError if data and info.json count differently: `verify` calls that broken too."""
    if found != counted:
        missing = "get the missing files in data/; if there are none, " if found < counted else ""
        raise DemonstrationError(
            f"{source} has data of {found} {what}, meta/info.json counts {counted}: {missing}residual-rl "
            "replay repair counts again"
        )


class _DataFile:
    """One parquet file of whole episodes."""

    def __init__(self, view: Path, path: Path, source: str, names: Sequence[str]) -> None:
        self._view, self._path, self._source = view, path, source
        frames = read_columns(view, str(path.relative_to(view)), names, source)
        self._values = {name: numbers(frames, name, source) for name in names}
        index = self._values[EPISODE]
        if len(frames) and (index.shape[1] != 1 or index.dtype.kind not in "iu"):
            raise DemonstrationError(f"{source}: {EPISODE} is not one whole number for each frame")
        changes = np.flatnonzero(index[1:, :1] != index[:-1, :1]) + 1
        self._starts: list[int] = [0, *changes.tolist()] if len(frames) else []
        self._ends = [*self._starts[1:], len(frames)] if len(frames) else []

    def _require_order(self, start: int, stop: int) -> None:
        """Raise DemonstrationError unless an episode's frames follow one another; some have no numbers."""
        if FRAME not in self._values:
            return
        numbered = self._values[FRAME][start:stop, 0]
        wrong = np.flatnonzero(np.diff(numbered.astype(float)) != 1)
        if len(wrong):
            before, after = numbered[wrong[0] : wrong[0] + 2]
            raise DemonstrationError(
                f"{self._source}, episode {self._values[EPISODE][start, 0]}: {FRAME} {after} follows "
                f"{before}: frames are missing, twice or out of order, copy the data again or remove the "
                "episode"
            )

    @property
    def episode_numbers(self) -> list[int]:
        return [int(self._values[EPISODE][start, 0]) for start in self._starts]

    def episodes(self, columns: Sequence[str], *, with_finals: bool) -> Iterator[Recording]:
        """`columns`: of an observation; `with_finals`: in the order of this project's replays."""
        state = float32(np.concatenate([self._values[name] for name in columns], axis=1))
        finals = self._final_observations() if with_finals else None
        for number, (start, stop) in enumerate(zip(self._starts, self._ends, strict=True)):
            self._require_order(start, stop)
            final = None if finals is None else finals[number]
            last = state[stop - 1] if final is None or final.shape != state[0].shape else final

            def part(name: str, start: int = start, stop: int = stop) -> Array | None:
                return self._values[name][start:stop] if name in self._values else None

            base_actions, version = part(BASE_ACTION), part(BASE_VERSION)
            if version is not None and version.any():
                base_actions = None  # of a base that was trained later
            yield Recording(
                observations=np.vstack([state[start:stop], last]),
                actions=float32(self._values[ACTION][start:stop]),
                success=part(SUCCESS),
                reward=part(REWARD),
                base_actions=None if base_actions is None else float32(base_actions),
                intervention=part(INTERVENTION),
            )

    def _final_observations(self) -> list[Array | None] | None:
        """Of each episode; None where it is not known, or for all in a dataset of something else."""
        sidecar = f"sidecar/{self._path.relative_to(self._view / 'data')}"
        if not (self._view / sidecar).exists():
            return None
        columns = ["final_known", "final_observation"]
        table = read_columns(self._view, sidecar, columns, self._source)
        known = numbers(table, "final_known", self._source)
        final = float32(numbers(table, "final_observation", self._source))
        if len(table) != len(self._starts):
            raise DemonstrationError(
                f"{self._source}: {sidecar} has {len(table)} episodes, its data file "
                f"{len(self._starts)}: residual-rl replay repair mends it"
            )
        return [
            row if there else None
            for row, there in zip(final, np.count_nonzero(known, axis=1).tolist(), strict=True)
        ]
