"""Makes meta/ of a dataset anew from its frames."""

import copy
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from learner.replay.dataset.arrow import row_count, why_unreadable
from learner.replay.dataset.format.layout import INFO_PATH, parquet_files
from learner.replay.dataset.format.spec import DatasetError
from learner.replay.dataset.swap import StagedFolder, remove
from learner.replay.tools.rebuild.draft import COUNTS, Draft
from learner.replay.tools.rebuild.episode_table import mend_episodes, mend_tasks
from learner.replay.tools.rebuild.episodes import number_frames
from learner.replay.tools.rebuild.features import mend_features
from learner.replay.tools.rebuild.statistics import mend_statistics
from learner.replay.tools.verify import examine


@dataclass(frozen=True)
class Rebuilt:
    """What came of it."""

    written: tuple[str, ...]
    """Files that are new."""
    left: tuple[str, ...]
    """Problems that nothing in the dataset solves; if there are any, it was not changed."""


def rebuild(folder: Path) -> Rebuilt:
    """Write meta/ anew from the frames, and number these on; no frame is dropped.
    Raises DatasetError: no dataset, or of another version."""
    problems = examine(folder, opening=False).problems
    staged = StagedFolder(folder)
    try:
        written = _mend(Draft(staged))
        left = examine(staged.root).problems
    except (DatasetError, pa.ArrowException) as error:
        written, left = [], problems or [str(error)]
    if left or not written:
        remove(staged.root)
    else:
        staged.swap_in()
    lines = [line.replace(f"{staged.root}/", "") for line in left]
    return Rebuilt(() if left else tuple(written), tuple(lines))


def _mend(draft: Draft) -> list[str]:
    """The files that were written. Raises DatasetError: says what is missing for it."""
    before, paths = copy.deepcopy(draft.info), parquet_files(draft.root / "data")
    if broken := [path for path in paths if why_unreadable(path) is not None]:
        raise DatasetError(f"{draft.name_of(broken[0])} cannot be read")
    if not any(map(row_count, paths)):
        raise DatasetError("data holds no frame")
    mend_features(draft, paths)
    episodes = list(number_frames(draft, paths))
    texts = mend_tasks(draft, episodes)
    mend_episodes(draft, episodes, texts)
    mend_statistics(draft, paths)
    _count(draft, len(episodes), sum(episode.length for episode in episodes), len(texts))
    if draft.info != before:
        draft.write_json(INFO_PATH, draft.info)
    return draft.written


def _count(draft: Draft, episodes: int, frames: int, tasks: int) -> None:
    counts = dict(zip(COUNTS, (episodes, frames, tasks), strict=True))
    if any(draft.info.get(name) != count for name, count in counts.items()):
        draft.info |= counts | {"splits": {"train": f"0:{episodes}"}}
