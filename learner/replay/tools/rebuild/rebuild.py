"""Makes meta/ of a dataset anew from its frames."""

import copy
from dataclasses import dataclass
from pathlib import Path

from learner.replay.dataset.format.layout import INFO_PATH
from learner.replay.dataset.format.spec import DatasetError
from learner.replay.dataset.swap import StagedFolder, remove
from learner.replay.tools.rebuild.draft import COUNTS, Draft
from learner.replay.tools.rebuild.episode_table import mend_episodes, mend_tasks
from learner.replay.tools.rebuild.episodes import number_frames
from learner.replay.tools.rebuild.features import mend_features
from learner.replay.tools.rebuild.frame_files import check_frames, files_with_frames
from learner.replay.tools.rebuild.statistics import mend_statistics
from learner.replay.tools.verify import examine


@dataclass(frozen=True)
class Rebuilt:
    """What came of it."""

    written: tuple[str, ...]
    """Files that are new."""
    dropped: tuple[str, ...]
    """Files that are left out, and why."""
    left: tuple[str, ...]
    """Problems that nothing in the dataset solves; if there are any, it was not changed."""


def rebuild(folder: Path) -> Rebuilt:
    """Write meta/ anew from the frames, and number these on; no frame is dropped.
    Raises DatasetError: no dataset, or of another version."""
    problems = examine(folder, opening=False).problems
    staged = StagedFolder(folder)
    try:
        draft = Draft(staged)
        _mend(draft)
        made, left = Rebuilt(tuple(draft.written), tuple(draft.dropped), ()), examine(staged.root).problems
    except DatasetError as error:
        made, left = None, [*problems, str(error)]
    if made is not None and not left:
        staged.swap_in() if made.written or made.dropped else remove(staged.root)
        return made
    remove(staged.root)
    return Rebuilt((), (), tuple(dict.fromkeys(line.replace(f"{staged.root}/", "") for line in left)))


def _mend(draft: Draft) -> None:
    """Raises DatasetError: says what is missing for it."""
    before, paths = copy.deepcopy(draft.info), files_with_frames(draft)
    features = mend_features(draft, paths)
    check_frames(draft, paths, features)
    episodes = list(number_frames(draft, paths, features))
    texts = mend_tasks(draft, episodes)
    mend_episodes(draft, episodes, texts)
    mend_statistics(draft, paths, features)
    _count(draft, len(episodes), sum(episode.length for episode in episodes), len(texts))
    if draft.info != before:
        draft.write_json(INFO_PATH, draft.info)


def _count(draft: Draft, episodes: int, frames: int, tasks: int) -> None:
    counts = dict(zip(COUNTS, (episodes, frames, tasks), strict=True))
    if any(draft.info.get(name) != count for name, count in counts.items()):
        draft.info |= counts | {"splits": {"train": f"0:{episodes}"}}
