"""The files of frames that a dataset is made anew from, checked before anything else is done."""

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa

from learner.replay.dataset.arrow import row_count, why_unreadable
from learner.replay.dataset.format.layout import parquet_files
from learner.replay.dataset.format.spec import DatasetError
from learner.replay.tools.frames import read_frames
from learner.replay.tools.lerobot_reader import Features, is_language
from learner.replay.tools.problems import problem_with_empty_cells
from learner.replay.tools.rebuild.draft import Draft
from learner.replay.tools.rebuild.features import AUTOMATIC


def files_with_frames(draft: Draft) -> list[Path]:
    """Files without rows are left out. Raises DatasetError: one cannot be read, or no other is there."""
    paths = parquet_files(draft.root / "data")
    for path in paths:
        if (problem := why_unreadable(path)) is not None:
            raise DatasetError(f"{draft.name_of(path)}: {problem}")
    used = [path for path in paths if row_count(path)]
    if not used:
        raise DatasetError("data holds no frame")
    for path in paths:
        if path not in used:
            draft.drop(path, "it has no rows")
    return used


def check_frames(draft: Draft, paths: Sequence[Path], features: Features) -> None:
    """Read all that there is.
    Raises DatasetError: names a file that cannot be read, lacks a column that nothing else says, or has one
    that is not of its feature's type or has empty cells."""
    for path in paths:
        frames = read_frames(draft.root, path, features, optional=AUTOMATIC)
        try:
            frames.validate(full=True)
        except pa.ArrowInvalid as error:
            raise DatasetError(f"{draft.name_of(path)}: {error}") from error
        given = [name for name in frames.column_names if name != "index" and not is_language(name)]
        if (problem := problem_with_empty_cells(frames.select(given))) is not None:
            raise DatasetError(f"{draft.name_of(path)}: {problem}")
