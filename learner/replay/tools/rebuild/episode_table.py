"""meta/tasks and meta/episodes: the tasks' texts, and a row for each episode."""

# pyright: reportMissingTypeStubs=false
# pandas has no annotations.

import itertools
import re
from collections.abc import Iterator, Sequence
from typing import cast

import numpy as np
import pandas as pd
import pyarrow as pa

from learner.replay.dataset.arrow import cells_of, make_table, values, with_column
from learner.replay.dataset.format.layout import EPISODES_PATH, TASKS_PATH, file_name, parquet_files
from learner.replay.dataset.format.spec import DatasetError
from learner.replay.tools.lerobot_reader import NotReadError, read_tasks
from learner.replay.tools.rebuild.draft import Draft
from learner.replay.tools.rebuild.episodes import Episode

_NUMBERED = re.compile(r"chunk-(\d+)/file-(\d+)\.parquet")


def mend_tasks(draft: Draft, episodes: Sequence[Episode]) -> list[str]:
    """The text of each task. Raises DatasetError: nothing says them."""
    used = {task for episode in episodes for task in episode.tasks}
    try:
        known = [*read_tasks(draft.root).index]
    except NotReadError:
        known = []
    # A reader takes -1 for the last task.
    fits = -len(known) <= min(used) and max(used) < len(known)
    if fits and all(isinstance(text, str) for text in known):
        return known
    if min(used) < 0:
        raise DatasetError(f"a frame has the task_index {min(used)}: tasks count from 0")
    texts = _assign(_texts_of(draft.old, episodes))
    lost = next(task for task in itertools.count() if task not in texts)
    if lost <= max(used):
        raise DatasetError(f"nothing says the text of task {lost}: write {TASKS_PATH} by hand")
    names = [texts[task] for task in sorted(texts)]
    table = pd.DataFrame({"task_index": range(len(names))}, index=names)
    draft.write(TASKS_PATH, table.to_parquet)
    return names


def mend_episodes(draft: Draft, episodes: Sequence[Episode], texts: Sequence[str]) -> None:
    """One table of all episodes, with what the old one says beyond the frames."""
    table = _table_of(episodes, texts)
    if draft.old is not None and _says(draft.old, table):
        return
    table = _with_old(draft.old, table, episodes)
    for name in ("meta/episodes/chunk_index", "meta/episodes/file_index"):
        table = with_column(table, name, np.zeros(len(episodes), np.int64))
    for path in parquet_files(draft.root / "meta/episodes"):
        draft.remove(path)
    draft.write_table(file_name(EPISODES_PATH, 0), table)


def _texts_of(
    old: pa.Table | None, episodes: Sequence[Episode]
) -> Iterator[tuple[tuple[int, ...], set[str]]]:
    """The tasks of each episode, and the texts that meta/episodes says these have."""
    if old is None or not {"tasks", "episode_index"} <= set(old.column_names):
        return
    said = dict(zip(values(old, "episode_index"), values(old, "tasks"), strict=True))
    for episode in episodes:
        texts: object = said.get(episode.label)
        if texts and isinstance(texts, list):
            yield episode.tasks, {text for text in cast("list[object]", texts) if isinstance(text, str)}


def _assign(said: Iterator[tuple[tuple[int, ...], set[str]]]) -> dict[int, str]:
    """The text of each task where only one fits."""
    fits: dict[int, set[str]] = {}
    for tasks, texts in said:
        for task in tasks:
            fits[task] = fits.get(task, texts) & texts
    found: dict[int, str] = {}
    while alone := {task: texts for task, texts in fits.items() if len(texts - {*found.values()}) == 1}:
        task, texts = alone.popitem()
        (found[task],) = texts - {*found.values()}
        del fits[task]
    return found


def _table_of(episodes: Sequence[Episode], texts: Sequence[str]) -> pa.Table:
    """What the frames say of the episodes."""
    ends = np.cumsum([episode.length for episode in episodes], dtype=np.int64)
    lengths = np.array([episode.length for episode in episodes], np.int64)
    columns = {
        "episode_index": np.arange(len(episodes)), "length": lengths,
        "dataset_from_index": ends - lengths, "dataset_to_index": ends,
        "tasks": cells_of([[texts[task] for task in episode.tasks] for episode in episodes]),
    }  # fmt: skip
    places = [_NUMBERED.fullmatch(episode.place) for episode in episodes]
    if all(places):
        for at, name in ((1, "data/chunk_index"), (2, "data/file_index")):
            columns[name] = np.array([int(place[at]) for place in places if place], np.int64)
    return make_table(columns)


def _says(old: pa.Table, new: pa.Table) -> bool:
    """Whether the old table has all that is in the new one."""
    return len(old) == len(new) and all(
        name in old.column_names and values(old, name) == values(new, name) for name in new.column_names
    )


def _with_old(old: pa.Table | None, table: pa.Table, episodes: Sequence[Episode]) -> pa.Table:
    """Beside the new columns those of the old table, row by row as the frames were labelled."""
    if old is None or "episode_index" not in old.column_names:
        return table
    at = {label: row for row, label in enumerate(values(old, "episode_index"))}
    rows = pa.array([at.get(episode.label) for episode in episodes], pa.int64())
    for name in old.column_names:
        if name not in table.column_names:
            table = table.append_column(name, old[name].take(rows))
    return table
